"""A doubtful address in an event: a warning in the result, never an error."""

from __future__ import annotations

import httpx
import pytest

from tests.mailer.web.conftest import event


async def sent(staff: httpx.AsyncClient, *items: dict[str, object]) -> list[dict[str, object]]:
    response = await staff.post("/api/v1/events", json=list(items))
    assert response.status_code == 200, response.text
    results: list[dict[str, object]] = response.json()["results"]
    return results


@pytest.mark.parametrize(
    ("email", "reason", "suggestion"),
    [
        ("hanako@gmial.com", "near_miss", "hanako@gmail.com"),
        ("hanako@docomo.co.jp", "near_miss", "hanako@docomo.ne.jp"),
        ("hanako@goo.jp", "dead_provider", None),
        ("hanako＠gmail.com", "full_width", "hanako@gmail.com"),
        ("hanako@yahoo.co.jp.", "end_dot", "hanako@yahoo.co.jp"),
    ],
)
async def test_a_warning_with_what_was_meant(
    staff: httpx.AsyncClient, email: str, reason: str, suggestion: str | None
) -> None:
    [result] = await sent(staff, event("patron", patron_id="p-1", name="佐藤 花子", email=email))
    assert result["outcome"] == "applied"
    assert "error" not in result
    [warning] = result["warnings"]  # type: ignore[misc]
    assert (warning["decision"], warning["reason"], warning["address"]) == ("warned", reason, email)
    assert warning.get("suggestion") == suggestion
    assert warning["sentence_ja"]
    assert warning["sentence"]


async def test_no_warning_about_an_address_in_order(staff: httpx.AsyncClient) -> None:
    items = [
        event("patron", patron_id="p-1", email="hanako@example.ne.jp"),
        event("patron.email_changed", patron_id="p-1", email="hanako@gmail.com"),
    ]
    for result in await sent(staff, *items):
        assert (result["outcome"], "warnings" in result) == ("applied", False)


async def test_the_second_of_two_addresses_is_named(staff: httpx.AsyncClient) -> None:
    emails = ["hanako@gmail.com", "hanako@gmial.com"]
    [result] = await sent(staff, event("patron", patron_id="p-1", emails=emails))
    assert [warning["address"] for warning in result["warnings"]] == emails[1:]  # type: ignore[union-attr,index]
