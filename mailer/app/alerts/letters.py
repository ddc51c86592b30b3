"""What the mail to IT says, in Japanese first and English second. Pure: a decision enters, a text leaves.

Each kind of trouble has a headline, a line of what is known, and one sentence on what to do. No patron, no
address and no title is named; a mail server's words stand only where no recipient was named to it yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from holds_core.alerts import MOMENTS, Decision, Found, Trouble
from holds_core.reasons import MEANING, Reason


@dataclass(frozen=True, slots=True)
class Letter:
    """A subject and a text."""

    subject: str
    body: str


class Said(NamedTuple):
    """The same in both languages; may hold {names} of facts."""

    ja: str
    en: str


class Words(NamedTuple):
    """A kind of trouble in words."""

    headline: Said
    known: Said
    todo: Said


_T = Trouble

WORDS: dict[tuple[Trouble, str], Words] = {
    (_T.RELAY_DOWN, ""): Words(
        Said("中継サーバーに接続できません", "the relay cannot be reached"),
        Said(
            "{host}: {said}。待っているメールは失われず、接続でき次第送信します。",
            "{host}: {said}. Waiting mail is not lost; it leaves as soon as the relay is back.",
        ),
        Said(
            "中継サーバーの稼働、ファイアウォール、設定の relay を確認してください。「todoku doctor --only relay」で確かめられます。",
            "Look at the relay, the firewall and the setting relay; `todoku doctor --only relay` tests it.",
        ),
    ),
    (_T.BATCH_STOPPED, ""): Words(
        Said("送信を自動で止めました", "sending stopped by itself"),
        Said(
            "直近{mails}通のうち{refused}通が、こちらの原因で拒否されました(応答 {code}、{reason_ja})。"
            "利用者の記録には影響しません。しばらく待って1通だけ試し、通れば自動で再開します。",
            "{refused} of the last {mails} mails were refused for a fault of our own ({code}: {reason_en}). "
            "No patron is marked. A single mail will test whether it is over; if so, sending goes on.",
        ),
        Said(
            "中継サーバーのログと、SPF・DKIM・DMARC、送信元の評価を確認してください。「todoku doctor」が手がかりを示します。",
            "Look at the relay's log, SPF, DKIM, DMARC and the reputation of its addresses; `todoku doctor` helps.",
        ),
    ),
    (_T.BATCH_STOPPED, "person"): Words(
        Said("送信を止めたまま、操作を待っています", "sending is stopped and waits for a person"),
        Said(
            "試しに送ったメールも、こちらの原因で拒否されました(応答 {code}、{reason_ja})。",
            "The test mails were refused too, for a fault of our own ({code}: {reason_en}).",
        ),
        Said(
            "原因を取り除いてから「todoku resume」を実行してください。拒否されたメールも送り直します。",
            "Mend the cause, then run `todoku resume`; what was refused is sent again.",
        ),
    ),
    (_T.BATCH_MISSED, ""): Words(
        Said("便を送れませんでした", "a batch did not run"),
        Said(
            "予定の時刻に送れなかった便: {slot}。待っているメールは次の便で送ります。",
            "The batch {slot} did not run when it was due. What waits leaves with the next one.",
        ),
        Said(
            "Todoku が停止していなかったか確認してください。すぐに送るには「todoku batch」を実行します。",
            "See whether Todoku was stopped. `todoku batch` sends what waits now.",
        ),
    ),
    (_T.PROMPT_LATE, ""): Words(
        Said("随時のメールが遅れています", "prompt mail is late"),
        Said(
            "{minutes}分以内に送るはずのメールが、まだ送れていません。",
            "Mail that should leave within {minutes} minutes has not left.",
        ),
        Said(
            "システムの負荷と、中継サーバーの応答の速さを確認してください。",
            "Look at the machine's load and at how fast the relay answers.",
        ),
    ),
    (_T.INTAKE_DEAD, "lmtp"): Words(
        Said("不達メールを受け取れません (LMTP)", "bounces cannot come in (LMTP)"),
        Said("LMTP の待ち受けが応答しません。", "Our LMTP listener does not answer."),
        Said(
            "Todoku のログを確認し、再起動してください。不達メールはメールサーバーに残っています。",
            "Look at Todoku's log and restart it. The mail server keeps the bounces meanwhile.",
        ),
    ),
    (_T.INTAKE_DEAD, "imap"): Words(
        Said("不達メールを受け取れません (IMAP)", "bounces cannot come in (IMAP)"),
        Said("IMAP の受信箱に接続できません。", "The IMAP mailbox cannot be reached."),
        Said(
            "「todoku doctor --only imap」で、接続・パスワード・フォルダーを確かめてください。",
            "`todoku doctor --only imap` tests connection, password and folders.",
        ),
    ),
    (_T.INTAKE_DEAD, "reading"): Words(
        Said("届いた不達メールを処理できていません", "bounces come in and are not read"),
        Said("受け取ったメールが未処理のまま残っています。", "Mail that came in stays unread."),
        Said("Todoku のログを確認してください。", "Look at Todoku's log."),
    ),
    (_T.FEED_STALE, ""): Words(
        Said("図書館システムからのデータが届いていません", "nothing comes from the library system"),
        Said("最後に届いたのは {since_ja} です。", "The last of it came on {since_en}."),
        Said(
            "図書館システムの書き出しと、取り込みの定期実行を確認してください。",
            "Look at the library system's export, and at what imports it.",
        ),
    ),
    (_T.PROVIDER_CHANGED, ""): Words(
        Said("メールの届き方が変わった事業者があります", "mail to a provider fares differently"),
        Said(
            "{domain}: 到着の手がかりは {observed}% (これまで {expected}%、{mails}通)。{suspect_ja}",
            "{domain}: signs of arrival {observed}%, where {expected}% were usual ({mails} mails). {suspect_en}",
        ),
        Said(
            "職員の画面の「システム」と、事業者の障害情報を確認してください。",
            "Look at the system page, and at what the provider says of its service.",
        ),
    ),
    (_T.DISK_LOW, ""): Words(
        Said("空き容量が少なくなりました", "the disk is nearly full"),
        Said("{folder} の空きは {mb} MB です。", "{folder} has {mb} MB left."),
        Said("不要なファイルを消すか、容量を増やしてください。", "Remove what is not needed, or add room."),
    ),
    (_T.QUARANTINE_GROWING, ""): Words(
        Said("判別できないメールが増えています", "many mails could not be matched"),
        Said("この24時間で {mails} 通ありました。", "There were {mails} within 24 hours."),
        Said(
            "「todoku quarantine list」で内容を確かめてください。返送先の設定の誤りか、いたずらのメールかもしれません。",
            "Look at `todoku quarantine list`: the return path may be set wrongly, or somebody plays tricks.",
        ),
    ),
}
"""By kind and subject; a subject that is not here (a slot, a feed) has the words of ""."""


def write(decision: Decision, library: str, zone: ZoneInfo, now: datetime) -> Letter:
    """The mail for a decision that has something to tell."""
    texts = [_Text(item, zone) for item in decision.tell]
    past = [_Text(item, zone) for item in decision.over]
    first, *others = texts or past
    kind = Said("異常", "Trouble") if texts else Said("復旧", "Over")
    more = Said(f" ほか{len(others)}件", f" and {len(others)} more") if others else Said("", "")
    subject = f"[Todoku] {kind.ja}: {first.headline.ja}{more.ja} / {kind.en}: {first.headline.en}{more.en}"
    shown = now.astimezone(zone)
    body = [
        f"{library} の Todoku からのお知らせです ({shown:%Y-%m-%d %H:%M})。",
        *_section(texts, past, "ja"),
        "このメールは自動で送信しています。返信は読まれません。",
        "",
        "-" * 40,
        f"From Todoku at {library} ({shown:%Y-%m-%d %H:%M %Z}).",
        *_section(texts, past, "en"),
        "This mail was sent by a program. Nobody reads answers to it.",
    ]
    return Letter(subject, "\n".join(body) + "\n")


def headline(item: Found) -> Said:
    """A trouble in a few words, for a page."""
    return (WORDS.get((item.trouble, item.subject)) or WORDS[item.trouble, ""]).headline


def _section(texts: Iterable[_Text], past: Iterable[_Text], language: str) -> list[str]:
    lines = [""]
    for text in texts:
        lines += [*text.lines(language), ""]
    for text in past:
        lines += [text.over(language), ""]
    return lines


class _Text:
    """One trouble in words."""

    def __init__(self, item: Found, zone: ZoneInfo) -> None:
        self._item = item
        self._words = WORDS.get((item.trouble, item.subject)) or WORDS[item.trouble, ""]
        self._since = item.since.astimezone(zone)
        self._facts = _Facts(_shown(item.facts, self._since))

    @property
    def headline(self) -> Said:
        feed = self._item.trouble is Trouble.FEED_STALE and self._item.subject
        if not feed:
            return self._words.headline
        return Said(f"{self._words.headline.ja} ({feed})", f"{self._words.headline.en} ({feed})")

    def lines(self, language: str) -> list[str]:
        known = self._in(self._words.known, language).format_map(self._facts)
        todo = self._in(self._words.todo, language)
        if language == "ja":
            since = "" if self._item.trouble in MOMENTS else f" ({self._since:%m/%d %H:%M}から)"
            return [f"■ {self.headline.ja}{since}", f"  {known}", f"  → {todo}"]
        since = "" if self._item.trouble in MOMENTS else f" (since {self._since:%d %b %H:%M})"
        return [f"* {self.headline.en[0].upper()}{self.headline.en[1:]}{since}", f"  {known}", f"  -> {todo}"]

    def over(self, language: str) -> str:
        if language == "ja":
            return f"□ 復旧しました: {self.headline.ja} ({self._since:%m/%d %H:%M}から)"
        return f"* Over: {self.headline.en} (since {self._since:%d %b %H:%M})"

    @staticmethod
    def _in(said: Said, language: str) -> str:
        return said.en if language == "en" else said.ja


class _Facts(dict[str, object]):
    """A fact that is missing (an older program wrote it down) reads as a dash."""

    def __missing__(self, key: str) -> str:
        return "-"


def _shown(facts: Mapping[str, str | int | float], since: datetime) -> dict[str, object]:
    shown: dict[str, object] = {name: value for name, value in facts.items() if value != ""}
    shown["since_ja"], shown["since_en"] = f"{since:%Y年%m月%d日 %H:%M}", f"{since:%d %b %Y %H:%M}"
    reason = str(facts.get("reason", ""))
    if reason in list(Reason):
        shown["reason_ja"], shown["reason_en"] = MEANING[Reason(reason)]
    suspect = facts.get("suspect")
    if suspect == "library":
        shown["suspect_ja"] = "ほかの事業者でも同じ変化があり、こちらの原因と思われます。"
        shown["suspect_en"] = "Other providers changed alike: the cause is probably ours."
    elif suspect:
        shown["suspect_ja"] = "この事業者の変化と思われます。"
        shown["suspect_en"] = "It is probably the provider."
    return shown
