"""Whether traffic can be tapped here: asked of the kernel, not read from capability bits."""

from __future__ import annotations

import socket
from typing import Final

from pilotfish_agent.capture.control import Reason
from pilotfish_agent.capture.settings import Config
from pilotfish_core.errors import UsageError

PERMISSION: Final = "the tap needs CAP_NET_RAW: run as root, or setcap/--cap-add NET_RAW"


def tap_problem() -> tuple[Reason, str] | None:
    """(reason, words) why no packet socket can be had; None: it can. The kernel looks at the namespace's owner too."""
    family = getattr(socket, "AF_PACKET", None)
    if family is None:
        return "not_supported", "the tap needs Linux"
    try:
        socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0).close()  # protocol 0: no packet comes
    except PermissionError:
        return "permission", PERMISSION
    except OSError as error:
        return "not_supported", f"this kernel has no packet sockets ({error.strerror})"
    return None


def problems(config: Config) -> list[UsageError]:
    """What was asked for by name and cannot be had: `attach` refuses it, `run` goes on without. `auto` asks nothing."""
    found = []
    missing = tap_problem() if config.mode == "tap" else None
    if missing is not None:
        expected = "auto, or the right to tap" if missing[0] == "permission" else "auto: it cannot be done here"
        found.append(UsageError("--capture", got="tap", expected=expected, todo=missing[1]))
    if config.relay_listen is not None and config.mode != "relay":
        expected = "--capture relay beside it: nothing else puts a hop into the model's path"
        found.append(UsageError("--relay-listen", got=config.relay_listen, expected=expected))
    return found
