"""A claimed delivery -> the bytes and the envelope to send now, or the reason why it is not sent.

Everything is checked again here, at send time: whether the holds are still on the shelf, whether the address
may still be used, what the sending mode allows. The deadline is computed here and stands in the mail.
Never touches the ledger or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any

from holds_core import settings as st
from holds_core.errors import BadInput
from holds_core.holds import Hold
from holds_core.identities import Identity, identities, identity_on
from holds_core.ledger.campaign import name_of
from holds_core.ledger.outbox import HOLD_MAIL
from holds_core.ledger.sending import Claimed, HoldLine
from holds_core.notices import BATCHED, Kind, Transmission
from holds_core.patrons import address_key, family_name
from holds_core.providers import Provider, Providers
from holds_core.rulebook import Rulebook
from holds_core.standing import Standing
from holds_core.tokens import Purpose, ReturnPathMode, TokenKeys, answer_address, return_path
from mailer import render
from mailer.message import Charset, Letter, Letterhead, Quoting, address_header, build
from mailer.render import NoticeView, Renderer, show_title
from mailer.sentences import is_english, sentence
from mailer.view import clean
from mailer.wrapping import wrap

_TRUE_WHILE: dict[Kind, frozenset[Hold]] = {
    **dict.fromkeys(HOLD_MAIL, frozenset({Hold.READY})),
    # a night may lie between the event and its mail: nobody is told that a hold was placed which has ended
    Kind.HOLD_PLACED: frozenset({Hold.PLACED, Hold.CANCEL_REQUESTED, Hold.READY}),
    # put back on the shelf, or handed over at the desk after all
    Kind.HOLD_LAPSED: frozenset({Hold.LAPSED}),
    # collected since, or put back
    Kind.DEADLINE_CHANGED: frozenset({Hold.READY}),
    # cancelled since: at the desk, after the patron phoned
    Kind.CANCEL_REFUSED: frozenset({Hold.PLACED, Hold.READY}),
}
"""States of a hold in which its notice is still true; other notices stay true whatever follows."""

_ALWAYS_NEWS = {Kind.REGISTRATION_CHANGED, Kind.REGISTRATION_CHANGED_OLD, Kind.DEADLINE_CHANGED}
_OLD_NEWS = frozenset(Kind) - BATCHED - _ALWAYS_NEWS
"""Notices that are not worth sending a day late. A change of the registration always is: somebody else may
have made it; so is a deadline that holds. Batched ones wait for their batch, over closed days too."""

_STILL_SENT_WHEN_UNREACHABLE = frozenset({Kind.REGISTRATION_CHANGED, Kind.SENDER_MIGRATION})
"""A registration change is how an unreachable address is tested again."""


@dataclass(frozen=True, slots=True)
class Composed:
    """One mail, ready for the relay. `deadline` is what comes into force with it; where its holds have
    different ones, it is the earliest, and `promised` has each."""

    sender: str
    recipient: str
    data: bytes
    envid: str
    deadline: date | None
    subject: str
    promised: tuple[tuple[str, date], ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a delivery is not sent, and the state it takes."""

    state: Transmission
    reason: str


class Composer:
    """Writes mails for one library. Make a new one when settings or templates change."""

    def __init__(
        self,
        rulebook: Rulebook,
        keys: TokenKeys,
        providers: Providers,
        renderer: Renderer,
        sign: Callable[[bytes, datetime], bytes] | None = None,
    ) -> None:
        self._rulebook, self._keys, self._providers, self._renderer = rulebook, keys, providers, renderer
        self._sign = sign
        settings = rulebook.settings
        self._settings = settings
        self._identities = identities(settings.sender)
        self._letterheads = {one.since: _letterheads(settings, one) for one in self._identities}
        self._return_path_mode = ReturnPathMode(settings.sender.return_path.value)
        ask = settings.confirmation.ask
        self._asks = {Kind.REGISTRATION_CHANGED: ask.registration_changed, Kind.HOLD_READY: ask.hold_ready}
        base = settings.confirm.base_url
        self._page = f"{base.rstrip('/')}/c/" if base else ""
        self._titles = settings.library.title_policy.value
        self._language = settings.library.language.value
        self._per_branch: dict[tuple[str, str, date | None], dict[str, Any]] = {}
        self._mailboxes: dict[str, Mailbox] = {}

    def compose(self, item: Claimed, now: datetime) -> Composed | Dropped:
        """The mail as it is true now. Raises TemplateFault or BadInput for what no mail can carry."""
        if drop := self._drop(item, now):
            return drop
        holds = tuple(line for line in item.holds if line.state == Hold.READY) or item.holds
        deadlines = self._deadlines(item, holds, now)
        deadline = min((day for day in deadlines if day), default=None)
        identity = self._identity(item, now)
        view = self._view(item, identity, holds, deadlines, deadline)
        rendered = self._renderer.render(view)
        mailbox = self.mailbox(item.domain)
        data = build(
            self._letterheads[identity.since]["en" if is_english(view.language) else "ja"],
            Letter(
                to=item.address,
                subject=rendered.subject,
                body=wrap(rendered.body, mailbox.line_width) if mailbox.line_width else rendered.body,
                date=self._rulebook.local(now),
                message_id=f"<{item.token}@{identity.return_path_domain}>",
                token=item.token,
                charset=mailbox.charset,
                quoting=mailbox.quoting,
            ),
        )
        if self._sign is not None:
            data = self._sign(data, now)
        return Composed(
            sender=return_path(
                self._return_path_mode,
                item.token,
                identity.return_path_domain,
                self._settings.sender.return_path_mailbox,
            ),
            recipient=self._recipient(item, mailbox),
            data=data,
            envid=item.token,
            # a reminder repeats what is in force already
            deadline=deadline if item.kind is Kind.HOLD_READY else None,
            subject=rendered.subject,
            promised=_promised(item.kind, holds, deadlines),
        )

    def _identity(self, item: Claimed, now: datetime) -> Identity:
        """Who the mail is from: a mail that is tried again keeps the names of its first attempt."""
        if len(self._identities) == 1:
            return self._identities[0]
        return identity_on(self._identities, self._rulebook.local(item.first_attempt_at or now).date())

    def _drop(self, item: Claimed, now: datetime) -> Dropped | None:
        """Whether the mail is still true and still allowed."""
        true_while = _TRUE_WHILE.get(item.kind)
        if true_while is not None and not any(line.state in true_while for line in item.holds):
            why = "off_the_shelf" if item.kind in HOLD_MAIL else "overtaken"
            return Dropped(Transmission.CANCELLED, why)
        if item.state is Transmission.UNCERTAIN:
            return None  # it may have left already: neither withheld nor cancelled any more
        if item.standing == Standing.UNREACHABLE and item.kind not in _STILL_SENT_WHEN_UNREACHABLE:
            return Dropped(Transmission.WITHHELD, "unreachable")
        if item.kind in _OLD_NEWS and now - item.created_at > self._settings.feeds.max_age:
            return Dropped(Transmission.CANCELLED, "too_late")
        if self._settings.sending.mode is st.Mode.ALLOWLIST and not self._listed(item.address):
            return Dropped(Transmission.CANCELLED, "not_on_allowlist")
        return None

    def _listed(self, address: str) -> bool:
        return address_key(address) in {address_key(listed) for listed in self._settings.sending.allowlist}

    def _recipient(self, item: Claimed, mailbox: Mailbox) -> str:
        sending = self._settings.sending
        if sending.mode is st.Mode.REDIRECT and sending.redirect_to:
            return sending.redirect_to
        if mailbox.quoting is Quoting.QUOTED:
            return address_header(item.address, Quoting.QUOTED)
        return item.address

    def _deadlines(
        self, item: Claimed, holds: tuple[HoldLine, ...], now: datetime
    ) -> tuple[date | None, ...]:
        """The deadline of each hold. One from the library system, an extension or a call beats the formula,
        and none comes earlier because a mail is sent again."""
        if item.kind not in HOLD_MAIL:
            return tuple([line.deadline for line in holds])
        return tuple([self._deadline(item, line, now) for line in holds])

    def _deadline(self, item: Claimed, line: HoldLine, now: datetime) -> date:
        known = line.deadline
        if known is not None and (
            line.deadline_source not in (None, "mail") or item.kind is Kind.HOLD_EXPIRING
        ):
            return known
        sent_on = self._rulebook.local(now).date()
        found = self._rulebook.deadline(item.branch, sent_on=sent_on, ready_on=line.ready_on)
        return found if known is None else max(known, found)

    def _view(
        self,
        item: Claimed,
        identity: Identity,
        holds: tuple[HoldLine, ...],
        deadlines: tuple[date | None, ...],
        deadline: date | None,
    ) -> NoticeView:
        announces = item.kind in _ABOUT_THE_SHELF
        titles = _stricter(self._titles, item.title_policy) if item.title_policy else self._titles
        lines = tuple(
            render.HoldLine(show_title(line.title, titles), day if announces and day != deadline else None)
            for line, day in zip(holds, deadlines, strict=True)
        )
        view = view_of(
            self._base(item.branch, item.language or self._language, identity),
            item,
            lines,
            deadline,
            changed_on=None if announces else self._rulebook.local(item.created_at).date(),
            links=self._links(item, identity),
        )
        if item.kind is Kind.SENDER_MIGRATION:
            view = replace(view, **self._migration(item))
        # of the library's own pages too: such a filter asks only whether there is a link
        return view if self.mailbox(item.domain).links else view.without_links()

    def _links(self, item: Claimed, identity: Identity) -> dict[str, str]:
        """The ways to confirm this delivery, and to say that it was not meant for its reader; empty where
        none are asked for. Where mail may carry no links, an address for an empty mail takes their place."""
        way = self._asks.get(item.kind, st.Way.NONE)
        page = self._page if way.link else ""
        wants_address = way.reply or (way.link and not self.mailbox(item.domain).links)
        address = (identity.reply_confirm_address or "") if wants_address else ""
        if not page and not address:
            return {}
        by_token = self._settings.sender.confirm_by_token
        token = self._keys.make(item.delivery_id, Purpose.CONFIRM)
        links = {
            "confirm_url": page and page + token,
            "confirm_address": answer_address(address, token) if address and by_token else address,
        }
        if item.kind is Kind.REGISTRATION_CHANGED:
            token = self._keys.make(item.delivery_id, Purpose.NOT_ME)
            links["not_me_url"] = page and page + token
            # without a token the address would be the one that confirms
            links["not_me_address"] = answer_address(address, token) if address and by_token else ""
        return links

    def _migration(self, item: Claimed) -> dict[str, Any]:
        """The change that this announcement is about: `holds_core.ledger.campaign` names its day.

        Raises BadInput if the settings no longer have it: no mail is better than a wrong one.
        """
        for former, new in pairwise(self._identities):
            if new.since is not None and item.reason == name_of(new.since):
                return {"old_sender": former.address, "new_sender": new.address, "switch_on": new.since}
        raise BadInput(f"the settings have no change of the sender for {item.reason}")

    def mailbox(self, domain: str) -> Mailbox:
        """How mail to this domain is written and paced: the built-in table, then the library's word."""
        if domain not in self._mailboxes:
            if len(self._mailboxes) > 10_000:
                self._mailboxes.clear()
            provider, own = self._providers.of(domain), self._settings.provider_for(domain)
            public = self._providers.public_name(domain) or (own.domain if own is not None else "")
            self._mailboxes[domain] = replace(_mailbox(provider, own), shown=public or OTHER)
        return self._mailboxes[domain]

    def _base(self, branch_id: str, language: str, identity: Identity) -> dict[str, Any]:
        """What all notices of a branch have in common, by the names of a view."""
        key = (branch_id, language, identity.since)
        if key not in self._per_branch:
            base = base_view(self._settings, branch_id, language, identity)
            self._per_branch[key] = {name: getattr(base, name) for name in NoticeView.__slots__}
        return self._per_branch[key]


OTHER = "other"
"""What logs call a mail domain that neither the table of providers nor the settings name."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How one domain's mail is written and paced. `pace` names the group that shares `per_minute`; `shown`
    is what logs may call the domain: one of a person's own would point to that person, and is OTHER."""

    pace: str
    per_minute: int
    charset: Charset
    quoting: Quoting
    links: bool
    line_width: int | None = None
    shown: str = OTHER


def _mailbox(provider: Provider, own: st.Provider | None) -> Mailbox:
    said = {name: getattr(own, name) for name in ("charset", "quoting", "links", "per_minute")} if own else {}
    chosen = {name: value for name, value in said.items() if value is not None}
    return Mailbox(
        pace=own.domain if own and own.per_minute is not None else provider.name,
        per_minute=chosen.get("per_minute", provider.per_minute),
        charset=Charset(str(chosen.get("charset", provider.charset))),
        quoting=Quoting(str(chosen.get("quoting", provider.quoting))),
        links=chosen.get("links", not provider.url_filter),
        line_width=own.line_width if own else None,
    )


def _letterheads(settings: st.Settings, identity: Identity) -> dict[str, Letterhead]:
    name = identity.name or settings.library.name
    english = identity.name_en or settings.library.name_en or name
    return {"ja": Letterhead(name, identity.address), "en": Letterhead(english, identity.address)}


_ABOUT_THE_SHELF = frozenset({*HOLD_MAIL, Kind.DEADLINE_CHANGED})


_STRICTER = ("full", "short", "none")


def _stricter(library: str, patron: str) -> str:
    """Patrons may ask for less than their library shows, never for more: others read their mail too."""
    return max(library, patron, key=_STRICTER.index)


def _promised(
    kind: Kind, holds: tuple[HoldLine, ...], deadlines: tuple[date | None, ...]
) -> tuple[tuple[str, date], ...]:
    """Each hold's own deadline, where those in one mail differ; they do where the period begins with the
    shelving."""
    if kind is not Kind.HOLD_READY or len(set(deadlines)) < 2:
        return ()
    return tuple((line.hold_id, day) for line, day in zip(holds, deadlines, strict=True) if day)


def base_view(settings: st.Settings, branch_id: str, language: str, identity: Identity) -> NoticeView:
    """The library and the branch in the patron's language."""
    english = is_english(language)
    library, branch = settings.library, settings.library.branch(branch_id)
    name = (branch.name_en if english else None) or branch.name if branch else ""
    hours = (branch.hours_en if english else None) or branch.hours if branch else None
    note = (settings.sender.note_en if english else settings.sender.note) or ""
    return NoticeView(
        kind=Kind.HOLD_READY,
        language=language,
        library_name=(library.name_en if english else None) or library.name,
        sender_address=identity.address,
        library_phone=library.phone or "",
        library_url=library.url or "",
        branch_name=name or "",
        branch_phone=(branch.phone if branch else None) or library.phone or "",
        branch_hours=hours or "",
        opac_url=library.opac_url or "",
        send_only_note=note,
        **library.wording.model_dump(exclude_none=True),
    )


def view_of(
    base: Mapping[str, Any],
    item: Claimed,
    holds: tuple[render.HoldLine, ...],
    deadline: date | None,
    *,
    changed_on: date | None,
    links: dict[str, str],
) -> NoticeView:
    """`base` with what belongs to this one notice."""
    about_registration = item.kind in (Kind.REGISTRATION_CHANGED, Kind.REGISTRATION_CHANGED_OLD)
    own = {
        "kind": item.kind,
        "family_name": family_name(clean(item.patron_name)),
        "holds": holds,
        "deadline": deadline,
        "reason": "" if about_registration else sentence(item.kind, item.reason, base["language"]),
        "changed": (item.reason or "email") if about_registration else "email",
        "changed_on": changed_on,
    }
    return NoticeView(**{**base, **own, **links})
