"""What a report says of one recipient outside the delivery-status fields: paragraph, phase, server.

Postfix, Sendmail, Exim, qmail and others tell in their own words at which SMTP command a mail was refused.
That is evidence: docomo says "550 Unknown user" for an unknown address after RCPT, for a filter after DATA.
"""

from __future__ import annotations

import re
from typing import Final

from bounces.letter import ADDRESS
from holds_core.notices import Phase

MAX_PARAGRAPH: Final = 1500

_COMMANDS: Final = {
    "rcpt": Phase.RCPT,
    "mail": Phase.MAIL,
    "data": Phase.DATA,
    "end of data": Phase.DATA,
    "final data": Phase.DATA,
    "text": Phase.DATA,  # 1&1 calls the data so
    "bdat": Phase.DATA,
    "ehlo": Phase.HELLO,
    "helo": Phase.HELLO,
    "lhlo": Phase.HELLO,
    "starttls": Phase.TLS,
    "auth": Phase.LOGIN,
    "initial connection": Phase.CONNECT,
}
_COMMAND: Final = re.compile(
    r"\s{0,3}(end of data|final data|initial connection|rcpt|mail|data|bdat|"
    r"ehlo|helo|lhlo|starttls|auth|text)\b(?! \d)"
)
_CUES: Final = (
    # what stands in front of the command's name
    "in reply to ",  # Postfix
    "after sending ",
    "after pipelined ",
    "after ",  # Exim, mail.ru, GMX
    "did not like our ",  # DragonFly
    "smtp:",  # an unnamed gateway
    "smtp command",  # m-FILTER
    "error following ",
    "from remote server for ",  # 1&1
    "response to ",  # IMail
    "additional ",  # IMail
    "step: ",
)
_SENTENCES: Final = (
    # qmail says it without naming the command
    ("does not like recipient", Phase.RCPT),
    ("failed after i sent the message", Phase.DATA),
    ("but sender was rejected", Phase.MAIL),
    ("but my name was rejected", Phase.HELLO),
    ("but greeting failed", Phase.CONNECT),
    ("refused to talk to me", Phase.CONNECT),  # Postfix
    ("[rcpt_to]", Phase.RCPT),  # Yahoo
    ("[mail_from]", Phase.MAIL),
    ("[data]", Phase.DATA),
    ("data command generated", Phase.DATA),  # IMail
    # gateways that stand between and refuse at RCPT themselves: McAfee WebShield, MessageLabs
    ("--- the following addresses had delivery problems ---", Phase.RCPT),
    ("mail delivery agent at messagelabs.com", Phase.RCPT),
    ("(state 13)", Phase.MAIL),  # Gmail of old numbers its states
    ("(state 14)", Phase.RCPT),
    ("(state 15)", Phase.DATA),
    ("(state 17)", Phase.DATA),
    ("(state 18)", Phase.DATA),
)


def find_phase(text: str) -> Phase | None:
    """The SMTP command that was answered, by the words of the reporting server."""
    if not text:
        return None
    lower = text.lower()
    for cue in _CUES:
        at = lower.find(cue)
        while at >= 0:
            at += len(cue)
            if match := _COMMAND.match(lower, at):
                return _COMMANDS[match.group(1)]
            at = lower.find(cue, at)
    return next((phase for sentence, phase in _SENTENCES if sentence in lower), None)


_DIALOGUE = re.compile(
    r"^[ \t]*(?:>+|Sent <<<)[ \t]+(?P<sent>[A-Z]{4})\b(?P<rest>[^\n]*)|"
    r"^[ \t]*(?:<<<|Received >>>)[ \t]+(?P<reply>[45]\d\d)",
    re.IGNORECASE | re.MULTILINE,
)
_ADDRESS = re.compile(ADDRESS)


def transcript_phase(text: str, address: str) -> Phase | None:
    """The command that was refused, from a transcript as Sendmail, au and InterScan write it:
    `>>> RCPT To:<a@b>` and on a line below `<<< 550 …`. A RCPT of another recipient does not count."""
    last: Phase | None = None
    for match in _DIALOGUE.finditer(text):
        if match.group("reply"):
            if last is not None:
                return last
            continue
        last = _COMMANDS.get(match.group("sent").lower())
        if last is Phase.RCPT:
            named = _ADDRESS.search(match.group("rest"))
            if named and named.group().lower() != address:
                last = None
    return None


def paragraph(notice: str, lower: str, address: str) -> str:
    """The lines of `notice` (`lower`: in lower case) that speak of `address`.

    They begin where it stands first, with brackets and colon if there is such a place, and end at the next
    blank line or the next line that begins with another address. A line that holds nothing but the address
    is passed over if another place says more (Sendmail's two lists).
    """
    at = lower.find(f"<{address}>:")
    if at < 0:
        at = lower.find(address)
    first = ""
    for _ in range(3):
        if at < 0:
            break
        said = _block(notice, at, address)
        if len(said) > len(address) + 12:
            return said
        first = first or said
        at = lower.find(address, at + len(address))
    return first


_NEXT = re.compile(rf"\n[ \t]*(?:\n|[<\"']?({ADDRESS})[>\"']?[ \t]*(?::|\.\.\.))")


def _block(notice: str, at: int, address: str) -> str:
    """The paragraph around `at`, its white space made single spaces."""
    begin = notice.rfind("\n", 0, at) + 1
    end = begin + MAX_PARAGRAPH
    for match in _NEXT.finditer(notice, at, end):
        if match.group(1) is None or match.group(1).lower() != address:
            end = match.start()
            break
    return " ".join(notice[begin:end].split())


_REMOTE = re.compile(
    r"(?:\bhost:?|while talking to|\brelay:?|domain \S{1,200} by)[ \t]+"
    r"(?P<host>[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+)\.?(?=[ \t\n:\[(,])",
    re.IGNORECASE,
)


def find_remote(text: str) -> str:
    """The server that answered, where only running text names it (Postfix, Exim, Sendmail, Gmail)."""
    match = _REMOTE.search(text)
    return match.group("host") if match else ""


_REJECTED: Final = "was automatically rejected:"


def stated(notice: str, lower: str) -> str:
    """Why Dovecot's delivery agent refused, in the administrator's words: "Your message to <…> was
    automatically rejected:" and the reason below. The status fields beside it may copy an older report."""
    at = lower.find(_REJECTED)
    if at < 0:
        return ""
    return notice[at + len(_REJECTED) :].strip().partition("\n\n")[0][:MAX_PARAGRAPH]


HINTS: Final[tuple[tuple[str, str], ...]] = (
    # Sentences in front of a server's list of recipients that say why; they beat the words beside each.
    # au (KDDI) writes "550 user unknown" beside all of them.
    ("the user(s) account is disabled", "suspend"),
    ("the user(s) account is temporarily over quota", "mailboxfull"),
    ("your message was not delivered within", "expired"),
    ("the following recipients did not receive this message", "notaccept"),
)


def hint(lower_notice: str) -> str:
    """The reason that the report gives for all its recipients, or ""."""
    for sentence, reason in HINTS:
        if sentence in lower_notice:
            return reason
    return ""
