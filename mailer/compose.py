"""A claimed delivery -> the bytes and the envelope to send now, or the reason why it is not sent.

Everything is checked again here, at send time: whether the holds are still on the shelf, whether the address
may still be used, what the sending mode allows. The deadline is computed here and stands in the mail.
Never touches the ledger or the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from holds_core import settings as st
from holds_core.holds import Hold
from holds_core.ledger.outbox import HOLD_MAIL
from holds_core.ledger.sending import Claimed, HoldLine
from holds_core.limits import WORDS, RefusalCode
from holds_core.notices import BATCHED, Kind, Transmission
from holds_core.patrons import address_key
from holds_core.providers import Provider, Providers
from holds_core.rulebook import Rulebook
from holds_core.standing import Standing
from holds_core.tokens import Purpose, ReturnPathMode, TokenKeys, return_path
from mailer import render
from mailer.message import Charset, Letter, Letterhead, Quoting, build
from mailer.render import NoticeView, Renderer, family_name, show_title

_TRUE_WHILE: dict[Kind, frozenset[Hold]] = {
    **dict.fromkeys(HOLD_MAIL, frozenset({Hold.READY})),
    # a night may lie between the event and its mail: nobody is told that a hold was placed which has ended
    Kind.HOLD_PLACED: frozenset({Hold.PLACED, Hold.CANCEL_REQUESTED, Hold.READY}),
    # put back on the shelf, or handed over at the desk after all
    Kind.HOLD_LAPSED: frozenset({Hold.LAPSED}),
    # cancelled since: at the desk, after the patron phoned
    Kind.CANCEL_REFUSED: frozenset({Hold.PLACED, Hold.READY}),
}
"""States of a hold in which its notice is still true; other notices stay true whatever follows."""

_OLD_NEWS = frozenset(Kind) - BATCHED - {Kind.REGISTRATION_CHANGED, Kind.REGISTRATION_CHANGED_OLD}
"""Notices that are not worth sending a day late. A change of the registration always is: somebody else may
have made it. Batched ones wait for their batch, over closed days too."""

_STILL_SENT_WHEN_UNREACHABLE = frozenset({Kind.REGISTRATION_CHANGED, Kind.SENDER_MIGRATION})
"""A registration change is how an unreachable address is tested again."""


@dataclass(frozen=True, slots=True)
class Composed:
    """One mail, ready for the relay. `deadline` is what stands in it."""

    sender: str
    recipient: str
    data: bytes
    envid: str
    deadline: date | None
    subject: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """Why a delivery is not sent, and the state it takes."""

    state: Transmission
    reason: str


class Composer:
    """Writes mails for one library. Make a new one when settings or templates change."""

    def __init__(self, rulebook: Rulebook, keys: TokenKeys, providers: Providers, renderer: Renderer) -> None:
        self._rulebook, self._keys, self._providers, self._renderer = rulebook, keys, providers, renderer
        settings = rulebook.settings
        self._settings = settings
        self._letterheads = {
            language: Letterhead(name, settings.sender.address) for language, name in _sender_names(settings)
        }
        self._return_path_mode = ReturnPathMode(settings.sender.return_path.value)
        self._domain = settings.sender.return_path_domain or settings.sender.address.rpartition("@")[2]
        ask = settings.confirmation.ask
        asks = ((Kind.REGISTRATION_CHANGED, ask.registration_changed), (Kind.HOLD_READY, ask.hold_ready))
        self._asks = frozenset(kind for kind, wanted in asks if wanted)
        base = settings.confirm.base_url
        self._page = f"{base.rstrip('/')}/c/" if base else ""
        self._titles = settings.library.title_policy.value
        self._language = settings.library.language.value
        self._per_branch: dict[tuple[str, str], NoticeView] = {}
        self._mailboxes: dict[str, Mailbox] = {}

    def compose(self, item: Claimed, now: datetime) -> Composed | Dropped:
        """The mail as it is true now. Raises TemplateFault or BadInput for what no mail can carry."""
        if drop := self._drop(item, now):
            return drop
        holds = tuple(line for line in item.holds if line.state == Hold.READY) or item.holds
        deadlines = self._deadlines(item, holds, now)
        deadline = min((day for day in deadlines if day), default=None)
        view = self._view(item, holds, deadlines, deadline)
        rendered = self._renderer.render(view)
        mailbox = self.mailbox(item.domain)
        data = build(
            self._letterheads["en" if _is_english(view.language) else "ja"],
            Letter(
                to=item.address,
                subject=rendered.subject,
                body=rendered.body,
                date=self._rulebook.local(now),
                message_id=f"<{item.token}@{self._domain}>",
                token=item.token,
                charset=mailbox.charset,
                quoting=mailbox.quoting,
            ),
        )
        return Composed(
            sender=return_path(
                self._return_path_mode, item.token, self._domain, self._settings.sender.return_path_mailbox
            ),
            recipient=self._recipient(item),
            data=data,
            envid=item.token,
            deadline=deadline,
            subject=rendered.subject,
        )

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

    def _recipient(self, item: Claimed) -> str:
        sending = self._settings.sending
        return sending.redirect_to or item.address if sending.mode is st.Mode.REDIRECT else item.address

    def _deadlines(
        self, item: Claimed, holds: tuple[HoldLine, ...], now: datetime
    ) -> tuple[date | None, ...]:
        """The deadline of each hold. One from the library system or an extension beats the formula."""
        if item.kind not in HOLD_MAIL:
            return tuple(line.deadline for line in holds)
        sent_on = self._rulebook.local(now).date()
        return tuple(
            line.deadline
            if line.deadline is not None and line.deadline_source in ("feed", "extended")
            else self._rulebook.deadline(item.branch, sent_on=sent_on, ready_on=line.ready_on)
            for line in holds
        )

    def _view(
        self,
        item: Claimed,
        holds: tuple[HoldLine, ...],
        deadlines: tuple[date | None, ...],
        deadline: date | None,
    ) -> NoticeView:
        announces = item.kind in HOLD_MAIL
        lines = tuple(
            render.HoldLine(
                show_title(line.title, self._titles), day if announces and day != deadline else None
            )
            for line, day in zip(holds, deadlines, strict=True)
        )
        view = view_of(
            self._base(item.branch, item.language or self._language),
            item,
            lines,
            deadline,
            changed_on=None if announces else self._rulebook.local(item.created_at).date(),
            links=self._links(item),
        )
        # of the library's own pages too: such a filter asks only whether there is a link
        return view if self.mailbox(item.domain).links else view.without_links()

    def _links(self, item: Claimed) -> dict[str, str]:
        """The confirmation links of this delivery; empty where none are asked for or may be sent."""
        if item.kind not in self._asks or not self._page:
            return {}
        links = {"confirm_url": self._page + self._keys.make(item.delivery_id, Purpose.CONFIRM)}
        if item.kind is Kind.REGISTRATION_CHANGED:
            links["not_me_url"] = self._page + self._keys.make(item.delivery_id, Purpose.NOT_ME)
        return links

    def mailbox(self, domain: str) -> Mailbox:
        """How mail to this domain is written and paced: the built-in table, then the library's word."""
        if domain not in self._mailboxes:
            if len(self._mailboxes) > 10_000:
                self._mailboxes.clear()
            self._mailboxes[domain] = _mailbox(
                self._providers.of(domain), self._settings.provider_for(domain)
            )
        return self._mailboxes[domain]

    def _base(self, branch_id: str, language: str) -> NoticeView:
        """What all notices of a branch have in common."""
        key = (branch_id, language)
        if key not in self._per_branch:
            self._per_branch[key] = base_view(self._settings, branch_id, language)
        return self._per_branch[key]


@dataclass(frozen=True, slots=True)
class Mailbox:
    """How one domain's mail is written and paced. `pace` names the group that shares `per_minute`."""

    pace: str
    per_minute: int
    charset: Charset
    quoting: Quoting
    links: bool


def _mailbox(provider: Provider, own: st.Provider | None) -> Mailbox:
    said = {name: getattr(own, name) for name in ("charset", "quoting", "links", "per_minute")} if own else {}
    chosen = {name: value for name, value in said.items() if value is not None}
    return Mailbox(
        pace=own.domain if own and own.per_minute is not None else provider.name,
        per_minute=chosen.get("per_minute", provider.per_minute),
        charset=Charset(str(chosen.get("charset", provider.charset))),
        quoting=Quoting(str(chosen.get("quoting", provider.quoting))),
        links=chosen.get("links", not provider.url_filter),
    )


def _sender_names(settings: st.Settings) -> list[tuple[str, str]]:
    name = settings.sender.name or settings.library.name
    english = settings.sender.name_en or settings.library.name_en or name
    return [("ja", name), ("en", english)]


def _is_english(language: str) -> bool:
    """`en`, and `en-GB` as a library system may say."""
    return language.partition("-")[0].lower() == "en"


def base_view(settings: st.Settings, branch_id: str, language: str) -> NoticeView:
    """The library and the branch in the patron's language."""
    english = _is_english(language)
    library, branch = settings.library, settings.library.branch(branch_id)
    name = (branch.name_en if english else None) or branch.name if branch else ""
    hours = (branch.hours_en if english else None) or branch.hours if branch else None
    note = (settings.sender.note_en if english else settings.sender.note) or ""
    return NoticeView(
        kind=Kind.HOLD_READY,
        language=language,
        library_name=(library.name_en if english else None) or library.name,
        sender_address=settings.sender.address,
        library_phone=library.phone or "",
        library_url=library.url or "",
        branch_name=name or "",
        branch_phone=(branch.phone if branch else None) or library.phone or "",
        branch_hours=hours or "",
        opac_url=library.opac_url or "",
        confirm_address=settings.sender.reply_confirm_address or "",
        send_only_note=note,
    )


def view_of(
    base: NoticeView,
    item: Claimed,
    holds: tuple[render.HoldLine, ...],
    deadline: date | None,
    *,
    changed_on: date | None,
    links: dict[str, str],
) -> NoticeView:
    """`base` with what belongs to this one notice."""
    values = {name: getattr(base, name) for name in _BASE_FIELDS}
    about_registration = item.kind in (Kind.REGISTRATION_CHANGED, Kind.REGISTRATION_CHANGED_OLD)
    values.update(
        kind=item.kind,
        family_name=family_name(item.patron_name),
        holds=holds,
        deadline=deadline,
        reason="" if about_registration else sentence(item.kind, item.reason, base.language),
        changed=(item.reason or "email") if about_registration else "email",
        changed_on=changed_on,
        **links,
    )
    return NoticeView(**values)


_LOST: dict[str, tuple[str, str]] = {
    "missing": ("資料の所在を確認できなくなったためです。", "The item cannot be found."),
    "lost": ("資料が失われたためです。", "The item has been lost."),
    "soiled": ("資料が汚れ、貸出しができなくなったためです。", "The item is soiled and cannot be lent."),
    "damaged": ("資料が傷み、貸出しができなくなったためです。", "The item is damaged and cannot be lent."),
}
"""Why the library cancels a hold that it had accepted."""


def sentence(kind: Kind, reason: str, language: str) -> str:
    """A feed's reason as the patron may read it, or "" if there is none.

    A reason that is not ours is staff's shorthand, never meant for patrons: a refusal gets the general
    sentence, the other notices say enough without one.
    """
    english = _is_english(language)
    if kind is Kind.HOLD_CANCELLED_BY_LIBRARY:
        return _LOST.get(reason.strip().lower(), ("", ""))[english]
    code = RefusalCode.of(reason)
    if not reason.strip() or (code is RefusalCode.OTHER and kind is not Kind.HOLD_REFUSED):
        return ""
    return WORDS[code].en if english else WORDS[code].ja


_BASE_FIELDS = NoticeView.__slots__
