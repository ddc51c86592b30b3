"""Opens a file that somebody else put there, and nothing that only bears its name.

Enters a path in a folder that others may write to; leaves a plain file, open for reading. A link is never
followed, not even one that took the file's place a moment after it was looked at, and a pipe is not waited for.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_plain(path: Path) -> BufferedReader:
    """The file at `path`, for reading. Raises OSError, also if it is a link or no plain file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
