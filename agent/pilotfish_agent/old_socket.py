"""What an earlier agent left where a Unix socket is to be."""

from __future__ import annotations

import os
import stat

from pilotfish_core.errors import UnavailableError


def remove(path: str, what: str) -> None:
    """Makes way at ``path``.

    Raises:
        UnavailableError: something else is there, which is not ours to remove; ``what`` names the socket for people.
        OSError: it cannot be removed.
    """
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise UnavailableError(f"{what} {path}", got="a file", expected="nothing or an old socket")
        os.unlink(path)
