"""The log itself; what its lines may say is tested where they are written."""

import subprocess
import sys

PROGRAM = """
import contextlib, io
from mailer import maillog

with contextlib.redirect_stderr(io.StringIO()) as first:
    maillog.setup(json=False, level="info")
    maillog.event("one")
assert "event=one" in first.getvalue()
first.close()
maillog.event("two")
"""


def test_a_stream_that_was_replaced_and_closed_stops_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "event=two" in done.stderr
