"""What the reader says of the project's own sample mails, every field of every one.

`RIG` are reports that real Postfix servers wrote (two of them in a row, with all NOTIFY settings); `WRITTEN`
are mails written after the RFCs and after what carriers and providers document.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bounces.parse import MailKind, Recipient, Report, examine, read
from holds_core.notices import Phase
from holds_core.reasons import Fault, Reason

MAILS = Path(__file__).parent / "mails"
BOUNCE = "bounce+k7mq2x4v@library.example"
MESSAGE_ID = "k7mq2x4v@library.example"


@dataclass(frozen=True)
class Said:
    """One recipient: address, kind, reason, fault, and what else is not empty."""

    address: str
    kind: str
    reason: str
    fault: str
    original: str = ""
    action: str = "failed"
    status: str = ""
    code: int | None = None
    remote: str = ""
    phase: str = ""

    @classmethod
    def of(cls, r: Recipient) -> Said:
        return cls(
            r.address,
            r.kind.value,
            r.reason.value,
            r.fault.value,
            r.original_recipient,
            r.action,
            r.status,
            r.code,
            r.remote_mta,
            r.phase.value if r.phase else "",
        )


@dataclass(frozen=True)
class Expected:
    """One mail: kind, detector, recipients, and what else is not as usual."""

    kind: str
    detector: str
    recipients: tuple[Said, ...] = ()
    to: tuple[str, ...] = (BOUNCE,)
    original_message_id: str = MESSAGE_ID
    reporting_mta: str = ""
    envelope_id: str = ""
    text: str = ""
    in_reply_to: str = ""
    forwarded: bool = False
    loop: bool = False

    @classmethod
    def of(cls, r: Report) -> Expected:
        return cls(
            r.kind.value,
            r.detector,
            tuple(map(Said.of, r.recipients)),
            r.to_addresses,
            r.original_message_id,
            r.reporting_mta,
            r.envelope_id,
            r.text,
            r.in_reply_to,
            r.forwarded,
            r.loop,
        )


RIG: dict[str, Expected] = {
    "blackhole-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@blackhole.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@blackhole.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+blackhole-all.6b026028@library.example",),
        original_message_id="179531780062.18727.16395334021080078465.blackhole-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="blackhole-all.6b026028",
    ),
    "blackholedsn-all-delivered.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@blackhole-dsn.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@blackhole-dsn.example",
                action="delivered",
                status="2.0.0",
            ),
        ),
        to=("bounce+blackholedsn-all.6b026028@library.example",),
        original_message_id="179531780062.18727.4691416535871954619.blackholedsn-all@library.example",
        reporting_mta="mx.far.example",
        envelope_id="blackholedsn-all.6b026028",
    ),
    "block-all-failed.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "p1@block.example",
                "soft",
                "blocked",
                "us",
                original="p1@block.example",
                status="5.7.1",
                code=554,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+block-all.6b026028@library.example",),
        original_message_id="179531780053.18727.4223063888208779606.block-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="block-all.6b026028",
    ),
    "dead-all-delayed.eml": Expected(
        "delayed",
        "rfc3464",
        (
            Said(
                "p1@dead.example",
                "delayed",
                "expired",
                "provider",
                original="p1@dead.example",
                action="delayed",
                status="4.4.1",
            ),
        ),
        to=("bounce+dead-all.6b026028@library.example",),
        original_message_id="179531780060.18727.13366427099368383046.dead-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="dead-all.6b026028",
    ),
    "dead-all-failed.eml": Expected(
        "soft",
        "rfc3464",
        (Said("p1@dead.example", "soft", "expired", "provider", original="p1@dead.example", status="4.4.1"),),
        to=("bounce+dead-all.6b026028@library.example",),
        original_message_id="179531780060.18727.13366427099368383046.dead-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="dead-all.6b026028",
    ),
    "discard-all-delivered.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@discard.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@discard.example",
                action="delivered",
                status="2.0.0",
            ),
        ),
        to=("bounce+discard-all.6b026028@library.example",),
        original_message_id="179531780064.18727.4423077795577203519.discard-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="discard-all.6b026028",
    ),
    "far-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@far.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@far.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+far-all.6b026028@library.example",),
        original_message_id="179531780046.18727.1372212261636821592.far-all@library.example",
        reporting_mta="mx.far.example",
        envelope_id="far-all.6b026028",
    ),
    "full-all-delayed.eml": Expected(
        "delayed",
        "rfc3464",
        (
            Said(
                "p1@full.example",
                "delayed",
                "mailboxfull",
                "patron",
                original="p1@full.example",
                action="delayed",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+full-all.6b026028@library.example",),
        original_message_id="179531780055.18727.4797586268407713124.full-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="full-all.6b026028",
    ),
    "full-all-failed.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "p1@full.example",
                "soft",
                "mailboxfull",
                "patron",
                original="p1@full.example",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+full-all.6b026028@library.example",),
        original_message_id="179531780055.18727.4797586268407713124.full-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="full-all.6b026028",
    ),
    "full-delay-delayed.eml": Expected(
        "delayed",
        "rfc3464",
        (
            Said(
                "p1@full.example",
                "delayed",
                "mailboxfull",
                "patron",
                original="p1@full.example",
                action="delayed",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+full-delay.6b026028@library.example",),
        original_message_id="179531780058.18727.10137578075639262949.full-delay@library.example",
        reporting_mta="mx.library.example",
        envelope_id="full-delay.6b026028",
    ),
    "full-fail-failed.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "p1@full.example",
                "soft",
                "mailboxfull",
                "patron",
                original="p1@full.example",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+full-fail.6b026028@library.example",),
        original_message_id="179531780057.18727.16698409163597611218.full-fail@library.example",
        reporting_mta="mx.library.example",
        envelope_id="full-fail.6b026028",
    ),
    "full-none-delayed.eml": Expected(
        "delayed",
        "rfc3464",
        (
            Said(
                "p1@full.example",
                "delayed",
                "mailboxfull",
                "patron",
                original="p1@full.example",
                action="delayed",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+full-none.6b026028@library.example",),
        original_message_id="179531780057.18727.14974529503886702623.full-none@library.example",
        reporting_mta="mx.library.example",
        envelope_id="full-none.6b026028",
    ),
    "full-none-failed.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "p1@full.example",
                "soft",
                "mailboxfull",
                "patron",
                original="p1@full.example",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+full-none.6b026028@library.example",),
        original_message_id="179531780057.18727.14974529503886702623.full-none@library.example",
        reporting_mta="mx.library.example",
        envelope_id="full-none.6b026028",
    ),
    "good-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@good.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@good.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+good-all.6b026028@library.example",),
        original_message_id="179531780046.18727.11455156035820311212.good-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="good-all.6b026028",
    ),
    "grey-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@grey.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@grey.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+grey-all.6b026028@library.example",),
        original_message_id="179531780060.18727.13172909131465102267.grey-all@library.example",
        reporting_mta="mx.far.example",
        envelope_id="grey-all.6b026028",
    ),
    "late-all-failed.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "p1@late.example", "hard", "userunknown", "patron", original="p1@late.example", status="5.1.1"
            ),
        ),
        to=("bounce+late-all.6b026028@library.example",),
        original_message_id="179531780065.18727.7690859478854935284.late-all@library.example",
        reporting_mta="mx.far.example",
        envelope_id="late-all.6b026028",
    ),
    "late-none-failed.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "p1@late.example", "hard", "userunknown", "patron", original="p1@late.example", status="5.1.1"
            ),
        ),
        to=("bounce+late-none.6b026028@library.example",),
        original_message_id="179531780066.18727.10016508126114558575.late-none@library.example",
        reporting_mta="mx.far.example",
        envelope_id="late-none.6b026028",
    ),
    "local-all-delivered.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@local.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@local.example",
                action="delivered",
                status="2.0.0",
            ),
        ),
        to=("bounce+local-all.6b026028@library.example",),
        original_message_id="179531780045.18727.5417939495525643666.local-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="local-all.6b026028",
    ),
    "mix-all-delayed.eml": Expected(
        "delayed",
        "rfc3464",
        (
            Said(
                "full1@mix.example",
                "delayed",
                "mailboxfull",
                "patron",
                original="full1@mix.example",
                action="delayed",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+mix-all.6b026028@library.example",),
        original_message_id="179531780067.18727.3691269986125814492.mix-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="mix-all.6b026028",
    ),
    "mix-all-failed+.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "full1@mix.example",
                "soft",
                "mailboxfull",
                "patron",
                original="full1@mix.example",
                status="4.2.2",
                code=452,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+mix-all.6b026028@library.example",),
        original_message_id="179531780067.18727.3691269986125814492.mix-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="mix-all.6b026028",
    ),
    "mix-all-failed.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "nouser1@mix.example",
                "hard",
                "userunknown",
                "patron",
                original="nouser1@mix.example",
                status="5.1.1",
                code=550,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+mix-all.6b026028@library.example",),
        original_message_id="179531780067.18727.3691269986125814492.mix-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="mix-all.6b026028",
    ),
    "mix-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "ok1@mix.example",
                "delivered",
                "delivered",
                "patron",
                original="ok1@mix.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+mix-all.6b026028@library.example",),
        original_message_id="179531780067.18727.3691269986125814492.mix-all@library.example",
        reporting_mta="mx.far.example",
        envelope_id="mix-all.6b026028",
    ),
    "nouser-all-failed.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "p1@nouser.example",
                "hard",
                "userunknown",
                "patron",
                original="p1@nouser.example",
                status="5.1.1",
                code=550,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+nouser-all.6b026028@library.example",),
        original_message_id="179531780049.18727.11656314356422581469.nouser-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="nouser-all.6b026028",
    ),
    "nouser-none-failed.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "p1@nouser.example",
                "hard",
                "userunknown",
                "patron",
                original="p1@nouser.example",
                status="5.1.1",
                code=550,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+nouser-none.6b026028@library.example",),
        original_message_id="179531780049.18727.11821793026631180193.nouser-none@library.example",
        reporting_mta="mx.library.example",
        envelope_id="nouser-none.6b026028",
    ),
    "quota5-all-failed.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "p1@quota5.example",
                "soft",
                "mailboxfull",
                "patron",
                original="p1@quota5.example",
                status="5.2.2",
                code=552,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+quota5-all.6b026028@library.example",),
        original_message_id="179531780052.18727.11480599825546842686.quota5-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="quota5-all.6b026028",
    ),
    "ratelimit-all-delayed.eml": Expected(
        "delayed",
        "rfc3464",
        (
            Said(
                "p1@ratelimit.example",
                "delayed",
                "ratelimited",
                "us",
                original="p1@ratelimit.example",
                action="delayed",
                status="4.7.28",
                code=421,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+ratelimit-all.6b026028@library.example",),
        original_message_id="179531780059.18727.3318173238677814906.ratelimit-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="ratelimit-all.6b026028",
    ),
    "ratelimit-all-failed.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "p1@ratelimit.example",
                "soft",
                "ratelimited",
                "us",
                original="p1@ratelimit.example",
                status="4.7.28",
                code=421,
                remote="127.0.0.1",
                phase="rcpt",
            ),
        ),
        to=("bounce+ratelimit-all.6b026028@library.example",),
        original_message_id="179531780059.18727.3318173238677814906.ratelimit-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="ratelimit-all.6b026028",
    ),
    "relayed-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@relayed.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@relayed.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+relayed-all.6b026028@library.example",),
        original_message_id="179531780047.18727.11369055364905076209.relayed-all@library.example",
        reporting_mta="mx.library.example",
        envelope_id="relayed-all.6b026028",
    ),
    "slow-all-relayed.eml": Expected(
        "delivered",
        "rfc3464",
        (
            Said(
                "p1@slow.example",
                "delivered",
                "delivered",
                "patron",
                original="p1@slow.example",
                action="relayed",
                status="2.0.0",
                remote="127.0.0.1",
            ),
        ),
        to=("bounce+slow-all.6b026028@library.example",),
        original_message_id="179531780061.18727.16579756206290809186.slow-all@library.example",
        reporting_mta="mx.far.example",
        envelope_id="slow-all.6b026028",
    ),
}

WRITTEN: dict[str, Expected] = {
    "au-disabled.eml": Expected(
        "soft",
        "rfc3464",
        (Said("taro@ezweb.ne.jp", "soft", "suspend", "patron", status="5.0.0", code=550, phase="rcpt"),),
        reporting_mta="lsean.ezweb.ne.jp",
    ),
    "au-filter.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "taro..t@ezweb.ne.jp",
                "soft",
                "filtered",
                "patron",
                original="taro..t@ezweb.ne.jp",
                status="5.0.0",
                code=550,
                remote="lsean.ezweb.ne.jp",
            ),
        ),
        reporting_mta="mx.library.example",
    ),
    "au-transcript.eml": Expected(
        "hard",
        "ezweb",
        (Said("jiro@example.ne.jp", "hard", "userunknown", "patron", code=550, phase="rcpt"),),
        original_message_id="",
    ),
    "au-unknown.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "taro..t@ezweb.ne.jp",
                "hard",
                "userunknown",
                "patron",
                original="taro..t@ezweb.ne.jp",
                status="5.0.0",
                code=550,
                remote="lsean.ezweb.ne.jp",
            ),
        ),
        reporting_mta="mx.library.example",
    ),
    "complaint-microsoft.eml": Expected(
        "feedback",
        "rfc5965",
        (Said("sora@hotmail.com", "feedback", "feedback", "patron", action=""),),
        to=("abuse@library.example",),
    ),
    "complaint.eml": Expected(
        "feedback",
        "rfc5965",
        (Said("ume@isp.example.com", "feedback", "feedback", "patron", action=""),),
        to=("abuse@library.example",),
    ),
    "docomo-data.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "hanako@docomo.ne.jp",
                "soft",
                "filtered",
                "patron",
                original="hanako@docomo.ne.jp",
                status="5.0.0",
                code=550,
                remote="mfsmax.docomo.ne.jp",
                phase="data",
            ),
        ),
        reporting_mta="mx.library.example",
        envelope_id="k7mq2x4v",
    ),
    "docomo-rcpt.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "hanako@docomo.ne.jp",
                "hard",
                "userunknown",
                "patron",
                original="hanako@docomo.ne.jp",
                status="5.0.0",
                code=550,
                remote="mfsmax.docomo.ne.jp",
                phase="rcpt",
            ),
        ),
        reporting_mta="mx.library.example",
        envelope_id="k7mq2x4v",
    ),
    "exim-failed.eml": Expected(
        "soft",
        "exim",
        (
            Said(
                "miki@example.org",
                "soft",
                "blocked",
                "us",
                status="5.7.1",
                code=554,
                remote="mx.example.org",
                phase="mail",
            ),
        ),
    ),
    "exim-warning.eml": Expected(
        "delayed",
        "exim-warning",
        (
            Said(
                "miki@example.org",
                "delayed",
                "expired",
                "provider",
                action="delayed",
                remote="mx.example.org",
            ),
        ),
        original_message_id="",
    ),
    "forwarded-attached.eml": Expected(
        "none",
        "forwarded",
        (),
        to=("library@city.example.jp",),
        original_message_id="20261122032320.79EE52263FB@mx.library.example",
        forwarded=True,
    ),
    "forwarded-quoted.eml": Expected(
        "none", "forwarded", (), to=("library@city.example.jp",), original_message_id="", forwarded=True
    ),
    "gmail.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "mei@example.com",
                "hard",
                "userunknown",
                "patron",
                status="5.1.1",
                code=550,
                remote="gmail-smtp-in.l.google.com",
            ),
        ),
        reporting_mta="googlemail.com",
    ),
    "hotmail-auth.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said(
                "sora@hotmail.com",
                "soft",
                "authfailure",
                "us",
                status="5.7.515",
                code=550,
                remote="hotmail-com.olc.protection.outlook.com",
            ),
        ),
        reporting_mta="mx.library.example",
    ),
    "human-reply.eml": Expected(
        "human_reply",
        "human",
        (Said("aoi@example.jp", "human_reply", "undefined", "provider", action=""),),
        to=("no-reply@library.example",),
        original_message_id="",
        text="明日の午後に受け取りに行きます。",
        in_reply_to="k7mq2x4v@library.example",
    ),
    "japanese-generic.eml": Expected(
        "soft",
        "generic",
        (Said("fumi@isp.example.ne.jp", "soft", "mailboxfull", "patron"),),
        original_message_id="",
    ),
    "loop.eml": Expected(
        "none", "loop", (), to=("bounce@library.example",), original_message_id="", loop=True
    ),
    "m-filter.eml": Expected(
        "hard",
        "m-filter",
        (Said("kana@city.example.lg.jp", "hard", "userunknown", "patron", code=550, phase="rcpt"),),
    ),
    "newsletter.eml": Expected("none", "", (), to=("staff@library.example",), original_message_id=""),
    "no-status.eml": Expected(
        "soft",
        "rfc3464",
        (
            Said("a.@docomo.ne.jp", "soft", "mailboxfull", "patron", action="", code=552),
            Said("b@example.jp", "delayed", "expired", "provider", action="delayed"),
        ),
    ),
    "office365.eml": Expected(
        "hard",
        "rfc3464",
        (Said("rin@example.com", "hard", "userunknown", "patron", status="5.1.10", code=550),),
        reporting_mta="TYWP286MB1234.JPNP286.PROD.OUTLOOK.COM",
    ),
    "qmail.eml": Expected(
        "hard",
        "qmail",
        (
            Said(
                "yoko@example.co.jp", "hard", "userunknown", "patron", status="5.1.1", code=550, phase="rcpt"
            ),
            Said(
                "ken@example.co.jp", "soft", "mailboxfull", "patron", status="4.2.2", code=452, phase="rcpt"
            ),
        ),
    ),
    "receipt.eml": Expected(
        "delivered",
        "rfc8098",
        (
            Said(
                "aoi@example.jp",
                "delivered",
                "delivered",
                "patron",
                original="aoi@example.jp",
                action="displayed",
            ),
        ),
        to=("no-reply@library.example",),
        in_reply_to="k7mq2x4v@library.example",
    ),
    "sendmail.eml": Expected(
        "hard",
        "rfc3464",
        (
            Said(
                "nao@example.ac.jp",
                "hard",
                "userunknown",
                "patron",
                original="naoko@example.ac.jp",
                status="5.1.1",
                code=550,
                remote="inner.example.ac.jp",
                phase="data",
            ),
        ),
        reporting_mta="mx.example.ac.jp",
    ),
    "sns.eml": Expected(
        "hard",
        "amazon-sns",
        (Said("rin@example.com", "hard", "userunknown", "patron", status="5.1.1", code=550),),
        original_message_id="",
    ),
    "vacation-outlook.eml": Expected(
        "auto_reply",
        "rfc3834",
        (Said("postmaster@example.onmicrosoft.com", "auto_reply", "vacation", "patron", action=""),),
        original_message_id="",
        text="I am out of the office until Monday. Mail to me could not be delivered to anybody else.",
        in_reply_to="k7mq2x4v@library.example",
    ),
    "vacation.eml": Expected(
        "auto_reply",
        "rfc3834",
        (Said("suzuki@example.jp", "auto_reply", "vacation", "patron", action=""),),
        original_message_id="",
        text="4月10日まで不在にしております。",
        in_reply_to="k7mq2x4v@library.example",
    ),
    "wrapped.eml": Expected(
        "hard",
        "qmail",
        (
            Said(
                "yoko@example.co.jp", "hard", "userunknown", "patron", status="5.1.1", code=550, phase="rcpt"
            ),
            Said(
                "ken@example.co.jp", "soft", "mailboxfull", "patron", status="4.2.2", code=452, phase="rcpt"
            ),
        ),
    ),
}


TABLE = RIG | WRITTEN


def test_every_sample_is_in_the_table() -> None:
    assert {p.name for p in MAILS.glob("*.eml")} == set(TABLE)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_sample(name: str) -> None:
    assert Expected.of(examine((MAILS / name).read_bytes())) == TABLE[name]


def lf(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n")


def crlf(raw: bytes) -> bytes:
    return lf(raw).replace(b"\n", b"\r\n")


def bare_cr(raw: bytes) -> bytes:
    return lf(raw).replace(b"\n", b"\r")


def mixed(raw: bytes) -> bytes:
    """Gateways on three systems had it in hand: lines end in LF, CRLF and CR by turns. A CR in front of an
    empty line that ends in LF would be one line end, so empty lines keep CRLF."""
    ends = (b"\n", b"\r\n", b"\r")
    lines = lf(raw).split(b"\n")
    return b"".join(
        line + (ends[number % 3] if line and following else b"\r\n")
        for number, (line, following) in enumerate(zip(lines, [*lines[1:], b""], strict=True))
    )


def from_line(raw: bytes) -> bytes:
    return b"From MAILER-DAEMON Tue Apr  7 08:31:09 2026\n" + raw


@pytest.mark.parametrize("change", [lf, crlf, bare_cr, mixed, from_line])
@pytest.mark.parametrize("name", sorted(TABLE))
def test_line_ends_and_an_mbox_line_change_nothing(name: str, change: object) -> None:
    assert callable(change)
    raw = (MAILS / name).read_bytes()
    assert Expected.of(examine(change(raw))) == TABLE[name]


@pytest.mark.parametrize("name", [n for n, e in TABLE.items() if e.detector == "rfc3464"])
def test_a_report_without_its_mime_boundary_is_still_read(name: str) -> None:
    """Gateways rewrite the boundary parameter and leave the body; the recipients and their fate stay."""
    raw = (MAILS / name).read_bytes().replace(b"boundary=", b"x-lost=", 1)
    found = Expected.of(examine(raw))
    want = TABLE[name]
    assert [(s.address, s.kind, s.action) for s in found.recipients] == [
        (s.address, s.kind, s.action) for s in want.recipients
    ]


def test_what_is_needed_to_match() -> None:
    report = read((MAILS / "docomo-rcpt.eml").read_bytes())
    assert report.is_bounce
    assert report.original_header("X-Todoku-Notice") == "k7mq2x4v"
    assert report.original_header("x-nothing") == ""
    assert report.envelope_id == "k7mq2x4v"
    reply = read((MAILS / "human-reply.eml").read_bytes())
    assert (reply.in_reply_to, reply.references) == (MESSAGE_ID, ("first@library.example", MESSAGE_ID))
    assert reply.subject == "Re: 予約資料のご用意ができました"
    assert reply.from_address == "aoi@example.jp"


def test_quoted_titles_are_not_kept() -> None:
    report = read((MAILS / "human-reply.eml").read_bytes())
    assert report.text == "明日の午後に受け取りに行きます。"


def test_json_is_what_the_scorer_reads() -> None:
    record = read((MAILS / "qmail.eml").read_bytes()).as_json("qmail.eml")
    assert record["file"] == "qmail.eml"
    assert record["is_bounce"] is True
    assert record["kind"] == "hard"
    assert record["recipients"] == ["yoko@example.co.jp", "ken@example.co.jp"]
    assert [(r["recipient"], r["kind"], r["reason"]) for r in record["results"]] == [
        ("yoko@example.co.jp", "hard", "userunknown"),
        ("ken@example.co.jp", "soft", "mailboxfull"),
    ]
    human = read((MAILS / "human-reply.eml").read_bytes()).as_json("x")
    assert (human["kind"], human["human_reply"], human["is_bounce"]) == ("none", True, False)


def bounce(body: str, *, sender: str = "MAILER-DAEMON@x.example", subject: str = "failure notice") -> Report:
    return examine(f"From: {sender}\nSubject: {subject}\n\n{body}".encode())


@pytest.mark.parametrize(
    ("body", "address", "reason"),
    [
        # one line each of formats that have no sample file
        ("Delivery failed 20 attempts: a@b.example\n", "a@b.example", Reason.EXPIRED),
        ("Invalid final delivery userid: a@b.example\n", "a@b.example", Reason.USERUNKNOWN),
        ("User mailbox exceeds allowed size: a@b.example\n", "a@b.example", Reason.MAILBOXFULL),
        (
            "User's mailbox is full: <a@b.example>\nUnable to deliver mail.\n",
            "a@b.example",
            Reason.MAILBOXFULL,
        ),
        (
            "This is the DragonFly Mail Agent v0.13 at x.example.\n\nThere was an error delivering your mail to"
            " <a@b.example>.\n\nmx.b.example [192.0.2.1] did not like our MAIL FROM: 550 no thanks\n",
            "a@b.example",
            Reason.REJECTED,
        ),
        (
            "Your message\n\n  To: list@x.example\n\ndid not reach the following recipient(s):\n\n"
            "c=JP;a= ;p=Example;o=Site;dda:SMTP=a@b.example; on Tue, 7 Apr 2026 08:31:04 +0900\n"
            "    The recipient name is not recognized\n",
            "a@b.example",
            Reason.USERUNKNOWN,
        ),
        (
            "Unable to deliver message to: <a@b.example>\nDelivery failed for the following reason:\n"
            "mx.b.example[192.0.2.1] responded with failure: 552 sorry, mailbox a@b.example is over quota\n",
            "a@b.example",
            Reason.MAILBOXFULL,
        ),
        (
            "Diagnostic information for administrators:\n\nGenerating server: mx.b.example\n\na@b.example\n"
            "#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n\nOriginal message headers:\n",
            "a@b.example",
            Reason.USERUNKNOWN,
        ),
        (
            "Your message to <a@b.example> was automatically rejected:\nQuota exceeded (mailbox is full)\n",
            "a@b.example",
            Reason.MAILBOXFULL,
        ),
        (
            "Your mail could not be delivered to:\n\n  a@b.example\n\nwrite to <postmaster@x.example>\n"
            "550 5.1.1 no such user\n",
            "a@b.example",
            Reason.USERUNKNOWN,
        ),
        ("Duplicated Message-ID in <a@b.example>.\n", "a@b.example", Reason.SYSTEMERROR),
        (
            'The following address(es) have yet to be delivered:\n\n  a@b.example: Too many "Received" headers\n',
            "a@b.example",
            Reason.CONTENTERROR,
        ),
    ],
)
def test_formats_in_text(body: str, address: str, reason: Reason) -> None:
    report = bounce(body)
    assert [(r.address, r.reason) for r in report.recipients] == [(address, reason)]
    assert report.is_bounce


def test_a_delay_in_any_format_is_no_failure() -> None:
    report = bounce(
        "Unable to deliver message to: <a@b.example>\nDelivery attempts will continue to be made for 5 days.\n"
    )
    assert report.kind is MailKind.DELAYED


@pytest.mark.parametrize(
    ("sender", "subject", "body"),
    [
        ("Aoi <aoi@example.jp>", "Re: 予約", "My mail to b@example.jp could not be delivered. Why?\n"),
        ("Aoi <aoi@example.jp>", "question", "Unable to deliver:\n\n  b@example.jp\n"),
        (
            "no-reply@shop.example",
            "Your order",
            "Your order could not be delivered.\n\n  help@shop.example\n",
        ),
        ("News <news@paper.example>", "Undeliverable promises", "Read more\n"),
        (
            "Aoi <aoi@example.jp>",
            "Re: x",
            "See below.\n\n> Your message to: b@example.jp\n> was not delivered\n",
        ),
        (
            "postmaster@example.jp",
            "Out of office",
            "Back on Monday. Undeliverable until then:\n\n  b@example.jp\n",
        ),
        ("list-bounces@lists.example", "Digest", "To unsubscribe write to x@lists.example\n"),
    ],
)
def test_people_and_shops_do_not_bounce(sender: str, subject: str, body: str) -> None:
    assert not bounce(body, sender=sender, subject=subject).is_bounce


def test_a_failure_that_the_server_calls_temporary_is_judged_by_action() -> None:
    failed = read((MAILS / "full-all-failed.eml").read_bytes())
    delayed = read((MAILS / "full-all-delayed.eml").read_bytes())
    assert failed.recipients[0].status == delayed.recipients[0].status == "4.2.2"
    assert (failed.kind, delayed.kind) == (MailKind.SOFT, MailKind.DELAYED)


def test_same_words_two_phases() -> None:
    """docomo: unknown at RCPT, the patron's filter after the data."""
    at_rcpt = read((MAILS / "docomo-rcpt.eml").read_bytes()).recipients[0]
    after_data = read((MAILS / "docomo-data.eml").read_bytes()).recipients[0]
    assert at_rcpt.text == after_data.text
    assert (at_rcpt.phase, at_rcpt.reason) == (Phase.RCPT, Reason.USERUNKNOWN)
    assert (after_data.phase, after_data.reason) == (Phase.DATA, Reason.FILTERED)


def test_missing_authentication_is_our_fault() -> None:
    recipient = read((MAILS / "hotmail-auth.eml").read_bytes()).recipients[0]
    assert (recipient.reason, recipient.fault) == (Reason.AUTHFAILURE, Fault.US)


def test_an_error_of_ours_becomes_a_quarantined_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(raw: bytes) -> Report:
        raise RuntimeError

    monkeypatch.setattr("bounces.parse.examine", broken)
    assert read(b"x") == Report(MailKind.NONE, detector="unreadable")
