"""The risk model on a real ledger: what it is told, what is kept of it, and that a restart changes nothing."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bounces.lookout import Lookout
from holds_core.evidence import Sign
from holds_core.ledger import cases, desk, silence, stakes
from holds_core.ledger.models import case_actions, case_steps, deliveries, risks
from holds_core.ledger.models import cases as cases_table
from holds_core.ledger.observations import Observation as Seen
from holds_core.ledger.session import Ledger
from holds_core.ledger.silence import ProviderAlert, Weighed
from holds_core.ledger.silence_facts import Facts
from holds_core.notices import Kind
from holds_core.observations import Mailed, Observation
from holds_core.provider_watch import Alert, Suspect, Week
from holds_core.rulebook import Rulebook
from holds_core.silence import Risk, SilenceModel
from holds_core.silence_reasons import RiskReason
from tests.core.ledger.conftest import NOON, TOKYO, Feed
from tests.core.ledger.helpers import batch, bounced, hand_over, observe, open_case, ready, rows
from tests.core.ledger.history import Scribe
from tests.core.silence_world import START, World, morning
from tests.core.test_rulebook import rulebook

DOMAINS = {"good.example": [(0, 0.03)], "turns.example": [(0, 0.03), (45, 0.7)], "bad.example": [(0, 0.5)]}


def asks(kind: Kind, domain: str) -> bool:
    return kind in (Kind.HOLD_READY, Kind.REGISTRATION_CHANGED)


def as_the_ledger_tells(item: Observation) -> Observation:
    """A mail whose holds lapse with the end of the seventh day."""
    if not isinstance(item, Mailed) or item.deadline is None:
        return item
    day = item.deadline.date() + timedelta(days=1)
    return replace(item, deadline=datetime.combine(day, time(0), TOKYO))


def by_notice(found: list[Risk]) -> dict[str, Risk]:
    return {risk.notice_id: risk for risk in found}


def same(one: dict[str, Risk], other: dict[str, Risk]) -> None:
    assert one.keys() == other.keys()
    for name, risk in one.items():
        assert risk.probability == pytest.approx(other[name].probability, abs=1e-9), name
        assert risk.reasons == other[name].reasons, name


async def test_the_ledger_tells_the_model_what_a_history_would(ledger: Ledger) -> None:
    seen = World(DOMAINS, days=60, mails_a_day=6, seed=3).observations()
    known = [item for item in seen if item.at < morning(55)]
    await Scribe(ledger).write(known)
    told, direct = SilenceModel(), SilenceModel()
    for item in await Facts(rulebook(), asks).everything(ledger):
        told.observe(item)
    for item in known:
        direct.observe(as_the_ledger_tells(item))
    for model in (told, direct):
        model.refresh(morning(55))
    risks_told = by_notice(told.waiting(morning(55)))
    assert len(risks_told) > 15
    same(risks_told, by_notice(direct.waiting(morning(55))))
    assert told.losses() == pytest.approx(direct.losses())


@pytest.mark.parametrize("seed", range(2))
async def test_reading_on_ends_where_reading_anew_does(ledger: Ledger, seed: int) -> None:
    rng = random.Random(seed)
    world = World(DOMAINS, days=40, mails_a_day=4, seed=seed)
    seen = [item for item in world.observations() if item.at < morning(39)]
    cuts = sorted({0, len(seen), *(rng.randrange(len(seen)) for _ in range(6))})
    scribe, facts, heard = Scribe(ledger), Facts(rulebook(), asks), []
    heard += await facts.everything(ledger)
    for start, end in itertools.pairwise(cuts):
        await scribe.write(seen[start:end])
        heard += await facts.news(ledger, seen[end - 1].at + timedelta(minutes=1))
    assert not facts.stale
    on, anew = SilenceModel(), SilenceModel()
    for item in heard:
        on.observe(item)
    for item in await Facts(rulebook(), asks).everything(ledger):
        anew.observe(item)
    for model in (on, anew):
        model.refresh(morning(39))
    same(by_notice(on.waiting(morning(39))), by_notice(anew.waiting(morning(39))))


class Log:
    """The lookout's log as a list of what was said."""

    def __init__(self) -> None:
        self.weighed: list[tuple[int, int]] = []
        self.alerts: list[tuple[str, str, str]] = []

    def silence_weighed(
        self, waiting: int, alarming: int, changed: int, observations: int, seconds: float
    ) -> None:
        self.weighed.append((waiting, changed))

    def provider_alert(self, what: str, alert: int, domain: str, suspect: str, sent: int, shown: int) -> None:
        self.alerts.append((what, domain, suspect))


class Desk:
    """A lookout whose time the test sets."""

    def __init__(self, ledger: Ledger, owner: str = "one", extra: str = "") -> None:
        self.now = NOON
        self.log = Log()
        book: Rulebook = rulebook(extra)
        self.lookout = Lookout(ledger, lambda: book, asks, {}, lambda: self.now, self._sleep, self.log, owner)

    async def _sleep(self, seconds: float) -> None:
        raise AssertionError("the test looks by itself")

    async def look(self, now: datetime) -> None:
        self.now = now
        await self.lookout.look()


async def stored(ledger: Ledger) -> dict[str, tuple[float, list[str]]]:
    return {row.notice_id: (round(row.risk, 9), row.reasons) for row in await rows(ledger, risks)}


async def test_a_restart_in_the_middle_changes_no_risk(ledger: Ledger) -> None:
    seen = list(World(DOMAINS, days=58, mails_a_day=5, seed=9).observations())
    scribe, steady = Scribe(ledger), Desk(ledger)
    at = 0
    for day in range(50, 57):
        for hour in (0, 3, 9):
            now = morning(day) + timedelta(hours=hour)
            end = next(i for i, item in enumerate(seen) if item.at >= now)
            await scribe.write(seen[at:end])
            at = end
            await steady.look(now)
    now = morning(57)
    end = next(i for i, item in enumerate(seen) if item.at >= now)
    await scribe.write(seen[at:end])
    await steady.look(now)
    before = await stored(ledger)
    assert len(before) > 15
    async with ledger.write() as connection:
        await connection.execute(sa.delete(risks))
        await silence.give_up_turn(connection, "one", now)
    await Desk(ledger, "two").look(now)
    assert await stored(ledger) == before


async def test_a_provider_that_falls_silent_is_found_told_and_found_again_after_a_restart(
    ledger: Ledger,
) -> None:
    seen = World(
        {"good.example": [(0, 0.03)], "turns.example": [(0, 0.03), (45, 0.75), (95, 0.03)]},
        mails_a_day=8, days=140, seed=5,
    ).observations()  # fmt: skip
    scribe, desk_, told, at = Scribe(ledger), Desk(ledger), [], 0
    for day in range(40, 138, 2):
        end = next((i for i, item in enumerate(seen) if item.at >= morning(day)), len(seen))
        await scribe.write(seen[at:end])
        at = end
        if day % 10 == 0:  # a new process now and then
            told += desk_.log.alerts
            async with ledger.write() as connection:
                await silence.give_up_turn(connection, "one", desk_.now)
            desk_ = Desk(ledger)
        await desk_.look(morning(day))
    told += desk_.log.alerts
    assert told == [("opened", "turns.example", "provider"), ("closed", "turns.example", "provider")]
    async with ledger.read() as connection:
        [alert] = await silence.alerts(connection)
        assert await silence.alerts(connection, open_only=True) == []
        shown = [week for week in await silence.weeks(connection) if week.domain == "turns.example"]
    assert 45 < (alert.opened_at - START).days <= 62
    assert 95 < ((alert.closed_at or NOON) - START).days <= 130
    assert alert.shown < alert.sent * alert.expected
    quiet = [
        week
        for week in shown
        if START.date() + timedelta(days=52) < week.begins < START.date() + timedelta(days=88)
    ]
    assert sum(week.signs for week in quiet) < 0.7 * sum(week.expected for week in quiet)
    assert all(week.begins.weekday() == 0 for week in shown)


async def test_of_two_daemons_one_weighs_until_it_stops(ledger: Ledger) -> None:
    one, two = Desk(ledger, "one"), Desk(ledger, "two")
    await one.look(NOON)
    await two.look(NOON + timedelta(minutes=15))
    assert (len(one.log.weighed), len(two.log.weighed)) == (1, 0)
    await two.look(NOON + timedelta(hours=2))
    assert len(two.log.weighed) == 1
    await one.look(NOON + timedelta(hours=2, minutes=1))
    assert len(one.log.weighed) == 1


# -- what is kept ----------------------------------------------------------------------------------


def weighed(notice_id: str, risk: float, *reasons: RiskReason, lapses_at: datetime | None = None) -> Weighed:
    return Weighed(Risk(notice_id, risk, risk, reasons), lapses_at or NOON + timedelta(days=6))


async def store(
    ledger: Ledger, *found: Weighed, now: datetime = NOON, case_from: float = 0.3
) -> silence.Stored:
    return await silence.store(ledger, found, now, case_from)


async def sent(ledger: Ledger, feed: Feed, *numbers: int) -> dict[int, Any]:
    """Notices handed over, by patron's number."""
    for number in numbers:
        await ready(feed, number)
    await batch(ledger)
    await hand_over(ledger)
    return {int(row.patron_id[1:]): row for row in await rows(ledger, deliveries)}


async def steps(ledger: Ledger) -> list[tuple[str, list[str]]]:
    return [(row.what, row.why) for row in await rows(ledger, case_steps)]


async def test_a_high_risk_opens_a_case_before_the_window_and_a_fallen_one_closes_it(
    ledger: Ledger, feed: Feed
) -> None:
    mail = await sent(ledger, feed, 1, 2)
    one, two = mail[1].notice_id, mail[2].notice_id
    said = await store(ledger, weighed(one, 0.35, RiskReason.PROVIDER_SILENT), weighed(two, 0.1))
    assert (said.waiting, said.written, said.alarming, said.reviewed) == (2, 2, 1, ("P1",))
    assert await open_case(ledger, "P1") == ["at_risk"]
    assert await open_case(ledger, "P2") is None
    # it stands until the risk has clearly fallen, and what is the same is not written again
    again = await store(ledger, weighed(one, 0.2, RiskReason.PROVIDER_SILENT), weighed(two, 0.102))
    assert (again.written, again.reviewed) == (1, ())
    assert await open_case(ledger, "P1") == ["at_risk"]
    await store(ledger, weighed(one, 0.1, RiskReason.SEEN_SINCE), weighed(two, 0.1))
    assert await open_case(ledger, "P1") is None
    [closed] = await rows(ledger, cases_table)
    assert closed.closed_why == "risk_fell"
    assert await steps(ledger) == [("opened", ["at_risk"]), ("closed", ["risk_fell"])]
    assert set(cases.CLOSED) >= {closed.closed_why}


async def test_news_that_halves_a_risk_is_said_in_the_case(ledger: Ledger, feed: Feed) -> None:
    mail = await sent(ledger, feed, 1)
    one = mail[1].notice_id
    await store(ledger, weighed(one, 0.8, RiskReason.NO_SIGN))
    await store(ledger, weighed(one, 0.35, RiskReason.NO_SIGN, RiskReason.SEEN_SINCE))
    assert await steps(ledger) == [("opened", ["at_risk"]), ("lowered", ["seen_since"])]


async def test_a_heavier_reason_raises_the_one_case_and_a_sign_closes_it(ledger: Ledger, feed: Feed) -> None:
    mail = await sent(ledger, feed, 1)
    await store(ledger, weighed(mail[1].notice_id, 0.8, RiskReason.NO_SIGN))
    await observe(ledger, replace(bounced(mail[1].delivery_id), at=NOON + timedelta(minutes=1)))
    assert await open_case(ledger, "P1") == ["bounced"]
    press = Seen(NOON + timedelta(minutes=2), Sign.CONFIRMED, "page", "c", mail[1].delivery_id)
    await observe(ledger, press, NOON + timedelta(minutes=2))
    assert await open_case(ledger, "P1") is None
    assert await steps(ledger) == [
        ("opened", ["at_risk"]),
        ("raised", ["bounced"]),
        ("closed", ["confirmed"]),
    ]


@pytest.mark.parametrize(
    ("event", "why"), [("collected", "collected"), ("lapsed", "lapsed"), ("cancelled", "cancelled")]
)
async def test_a_hold_that_leaves_the_shelf_closes_the_case_and_its_risk_goes(
    ledger: Ledger, feed: Feed, event: str, why: str
) -> None:
    mail = await sent(ledger, feed, 1)
    await store(ledger, weighed(mail[1].notice_id, 0.8))
    feed.now += timedelta(hours=1)
    by = {"by": "library"} if event == "cancelled" else {}
    await feed.ok(f"hold.{event}", hold_id="H1", patron_id="P1", **by)
    [closed] = await rows(ledger, cases_table)
    assert (closed.state, closed.closed_why) == ("closed", why)
    # the model may still think of it until it is told
    await store(ledger, weighed(mail[1].notice_id, 0.8))
    assert await rows(ledger, risks) == []


async def test_the_desk_lists_as_the_model_does(ledger: Ledger) -> None:
    """The model's order for a counter, over those whom staff can call."""
    seen = World(
        {"bad.example": [(0, 0.6)], "good.example": [(0, 0.05)]}, days=60, mails_a_day=6, seed=4
    ).observations()
    known = [item for item in seen if item.at < morning(58)]
    await Scribe(ledger).write(known)
    desk_ = Desk(ledger, extra="case: {open_from: 5%}")
    await desk_.look(morning(58))
    model = SilenceModel(settings=desk.COUNTER)
    for item in known:
        model.observe(as_the_ledger_tells(item))
    model.refresh(morning(58))
    worth: dict[str, float] = defaultdict(float)
    for call in model.worklist(morning(58), None):
        worth[call.patron_id] += call.worth
    async with ledger.read() as connection:
        found = desk.order(await desk.open_cases(connection, morning(58).date()), morning(58))
    listed = [worth[case.patron_id] for case in found if case.patron_id in worth]
    assert len(listed) > 8
    assert listed == pytest.approx(sorted(listed, reverse=True))
    first = found[0]
    assert first.risk is not None
    assert first.risk_reasons
    assert first.risk_word in [(ja, en) for _, ja, en in stakes.LEVELS]


async def test_several_holds_make_a_call_worth_more_and_a_hold_told_twice_counts_once(
    ledger: Ledger, feed: Feed
) -> None:
    mail = await sent(ledger, feed, 1, 2)
    await feed.ok("hold.shelved", hold_id="H1b", patron_id="P1", branch="other")
    await batch(ledger, "later")
    await hand_over(ledger)
    extra = next(
        row
        for row in await rows(ledger, deliveries)
        if row.notice_id not in {r.notice_id for r in mail.values()}
    )
    await store(
        ledger,
        weighed(mail[1].notice_id, 0.5),
        weighed(extra.notice_id, 0.4),
        weighed(mail[2].notice_id, 0.6),
    )
    async with ledger.read() as connection:
        listed = desk.order(await desk.open_cases(connection, NOON.date()), NOON)
    first = listed[0].at_stake
    assert first is not None
    assert first.risk == 0.5
    assert sorted(stake.hold_id for stake in first.stakes) == ["H1", "H1b"]
    assert [case.patron_id for case in listed] == ["P1", "P2"]


async def test_who_was_reached_is_at_no_risk_and_an_undone_call_counts_for_nothing(
    ledger: Ledger, feed: Feed
) -> None:
    mail = await sent(ledger, feed, 1)
    facts, model = Facts(rulebook(), asks), SilenceModel()
    for item in await facts.everything(ledger):
        model.observe(item)
    later = NOON + timedelta(days=2)
    model.refresh(later)
    assert model.risk(mail[1].notice_id, later).probability > 0
    async with ledger.write() as connection:
        await connection.execute(
            sa.insert(case_actions).values(
                patron_id="P1", at=later, who="kato", kind="reached", note="", before={}, after={}
            )
        )
    for item in await facts.news(ledger, later):
        model.observe(item)
    assert model.risk(mail[1].notice_id, later) == Risk(
        mail[1].notice_id, 0.0, model.risk(mail[1].notice_id, later).unseen, (RiskReason.TOLD,)
    )
    assert not facts.stale
    async with ledger.write() as connection:
        await connection.execute(sa.update(case_actions).values(undone_at=later, undone_by="kato"))
    await facts.news(ledger, later)
    assert facts.stale


async def test_an_extension_and_a_new_state_are_noticed(ledger: Ledger, feed: Feed) -> None:
    mail = await sent(ledger, feed, 1)
    facts, model = Facts(rulebook(), asks), SilenceModel()
    for item in await facts.everything(ledger):
        model.observe(item)
    await feed.ok("hold.extended", hold_id="H1", deadline="2026-12-20")
    for item in await facts.news(ledger, NOON):
        model.observe(item)
    assert model.lapses_at(mail[1].notice_id) == datetime(2026, 12, 20, 15, tzinfo=UTC)
    async with ledger.write() as connection:
        await connection.execute(sa.update(deliveries).values(state="withheld"))
    await facts.news(ledger, NOON)
    assert facts.stale


async def test_mail_that_was_never_sent_is_at_risk_and_says_nothing_of_an_address(
    ledger: Ledger, feed: Feed
) -> None:
    await feed.ok("patron", patron_id="P1", email=None, contact="phone", phones=["0900-00-0001"])
    await feed.ok("hold.shelved", hold_id="H1", patron_id="P1", branch="main")
    model = SilenceModel()
    for item in await Facts(rulebook(), asks).everything(ledger):
        model.observe(item)
    model.refresh(NOON)
    [risk] = model.waiting(NOON)
    assert risk.unseen == 1.0
    assert risk.probability > 0.4
    assert RiskReason.NOT_SENT in risk.reasons
    assert model.lapses_at(risk.notice_id) is not None


# -- alerts ----------------------------------------------------------------------------------------


FALL = Alert(
    raised=NOON, domain="outlook.jp", since=datetime(2026, 5, 3, tzinfo=UTC), observed=11 / 40, expected=0.8, n=40,
    loss_before=0.05, loss_now=0.6, suspect=Suspect.PROVIDER,
)  # fmt: skip


async def told(ledger: Ledger, alert: Alert, now: datetime = NOON) -> ProviderAlert | None:
    async with ledger.write() as connection:
        return await silence.store_alert(connection, alert, now)


async def test_an_alert_opens_once_and_its_recovery_closes_it(ledger: Ledger) -> None:
    opened = await told(ledger, FALL)
    assert opened is not None
    assert (opened.closed_at, opened.shown, opened.sent) == (None, 11, 40)
    assert await told(ledger, FALL) is None
    ja, en = opened.sentence(TOKYO)
    assert en.startswith("outlook.jp: 11 of 40 since 3 May, 80% expected.")
    assert ja.startswith("outlook.jp: 5月3日以降の40通のうち")
    back = replace(FALL, loss_before=0.6, loss_now=0.05)
    closed = await told(ledger, back, NOON + timedelta(days=30))
    assert closed is not None
    assert (closed.id, closed.closed_at, closed.closed_why) == (
        opened.id,
        NOON + timedelta(days=30),
        "recovered",
    )
    assert "回復" in closed.sentence(TOKYO)[0]
    assert await told(ledger, back) is None
    assert (await told(ledger, replace(FALL, since=NOON))) is not None


async def test_our_own_fault_is_told_apart(ledger: Ledger) -> None:
    opened = await told(ledger, FALL)
    assert opened is not None
    async with ledger.write() as connection:
        assert await silence.blame(connection, opened.id, Suspect.LIBRARY, NOON)
        assert not await silence.blame(connection, opened.id, Suspect.LIBRARY, NOON)
        [now] = await silence.alerts(connection, open_only=True)
    assert "SPF" in now.sentence(TOKYO)[0]
    assert "SPF" not in opened.sentence(TOKYO)[0]


def test_an_alert_is_over_when_most_of_the_way_back_is_made() -> None:
    kept = ProviderAlert(1, "a.example", NOON, NOON, 40, 11, 0.8, 0.05, 0.65, Suspect.PROVIDER)
    assert not silence.is_over(kept, 0.4)
    assert silence.is_over(kept, 0.15)
    assert not silence.is_over(kept, None)


async def test_weeks_are_kept_without_domains_of_hardly_any_mail(ledger: Ledger) -> None:
    monday = date(2026, 11, 23)
    many = [
        Week("a.example", monday, 6, 4, 5.0),
        Week("tiny.example", monday, 2, 1, 2.0),
        Week("", monday, 9, 0, 1.0),
    ]
    for found in (many, many):
        async with ledger.write() as connection:
            await silence.store_weeks(connection, found)
    async with ledger.read() as connection:
        assert await silence.weeks(connection) == many[:1]


@pytest.mark.parametrize(
    ("risk", "word"), [(0.9, "high"), (0.5, "high"), (0.3, "raised"), (0.19, "low"), (0.0, "low")]
)
def test_a_risk_has_a_word(risk: float, word: str) -> None:
    assert stakes.level(risk)[1] == word
