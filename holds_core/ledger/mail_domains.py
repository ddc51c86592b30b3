"""What DNS says of patrons' mail domains: asked rarely, kept for a while, and laid at the addresses.

Enters a domain's verdict; leaves the doubt at each of its addresses, and cases for the patrons whom no other
address reaches. Never asks DNS itself. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from holds_core.address_checks import UNDELIVERABLE, MailDomain
from holds_core.ledger import cases
from holds_core.ledger.models import addresses, mail_domains, patron_addresses
from holds_core.ledger.sql import insert_new

_IN_FORCE = sa.exists().where(
    patron_addresses.c.address_key == addresses.c.address_key, patron_addresses.c.until.is_(None)
)


async def due(connection: AsyncConnection, now: datetime, limit: int = 100) -> list[str]:
    """Domains of addresses in force that nobody has asked about, or too long ago. New ones first."""
    found = await connection.scalars(
        sa.select(addresses.c.domain)
        .join(mail_domains, mail_domains.c.domain == addresses.c.domain, isouter=True)
        .where(
            addresses.c.domain != "",
            sa.or_(mail_domains.c.domain.is_(None), mail_domains.c.ask_again_at <= now),
            _IN_FORCE,
        )
        .group_by(addresses.c.domain, mail_domains.c.ask_again_at)
        .order_by(mail_domains.c.ask_again_at.is_not(None), mail_domains.c.ask_again_at, addresses.c.domain)
        .limit(limit)
    )
    return list(found)


async def known(connection: AsyncConnection, domain: str) -> MailDomain:
    """What was last heard of a domain."""
    said = await connection.scalar(sa.select(mail_domains.c.verdict).where(mail_domains.c.domain == domain))
    return MailDomain(said) if said else MailDomain.UNKNOWN


async def record(
    connection: AsyncConnection, domain: str, verdict: MailDomain, now: datetime, keep: timedelta
) -> int:
    """Keeps an answer for `keep` and lays it at the domain's addresses. Returns how many patrons it concerns.

    No answer changes nothing that was known: a resolver in trouble clears nobody and accuses nobody.
    """
    values = {"verdict": verdict, "checked_at": now, "ask_again_at": now + keep}
    if not await insert_new(connection, mail_domains, {"domain": domain, **values}):
        silent = verdict is MailDomain.UNKNOWN
        news = {"ask_again_at": now + keep} if silent else values
        await connection.execute(
            sa.update(mail_domains).where(mail_domains.c.domain == domain).values(**news)
        )
    if verdict is MailDomain.UNKNOWN:
        return 0
    return await _lay(connection, domain, verdict, now)


async def _lay(connection: AsyncConnection, domain: str, verdict: MailDomain, now: datetime) -> int:
    doubt = verdict.value if verdict in UNDELIVERABLE else ""
    touched = sa.and_(
        addresses.c.domain == domain,
        addresses.c.doubt.in_(["", *UNDELIVERABLE]),  # a slip with its suggestion says more
        addresses.c.doubt != doubt,
    )
    keys = list(await connection.scalars(sa.select(addresses.c.address_key).where(touched)))
    if not keys:
        return 0
    await connection.execute(sa.update(addresses).where(touched).values(doubt=doubt))
    concerned = await connection.scalars(
        sa.select(patron_addresses.c.patron_id)
        .join(addresses, addresses.c.address_key == patron_addresses.c.address_key)
        .where(addresses.c.domain == domain, patron_addresses.c.until.is_(None))
        .distinct()
    )
    patron_ids = list(concerned)
    for patron_id in patron_ids:
        await cases.review(connection, patron_id, now)
    return len(patron_ids)
