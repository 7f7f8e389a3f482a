"""``pf-capture``: the process that sees traffic. It gives way to everybody, is bounded, and dies with the agent.

Neither numpy nor anything of the agent is imported here (tests/capture_process/ looks): a few MiB, so that a fault
costs a restart of tens of milliseconds. Killed, stopped or out of memory, it is not in the model's path; the relay is.
"""

from __future__ import annotations

import importlib
import os
import select
import socket
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pilotfish_agent.capture.control import (
    CODE_UNAVAILABLE,
    REASONS,
    ClosedError,
    Control,
    Orders,
    Report,
)
from pilotfish_agent.launch.settle import give_way, limit_memory, settle

if TYPE_CHECKING:  # needs the folders that come with the first orders
    from pilotfish_agent.capture.recorder import Recorder

FIRST_ORDERS_SECONDS: Final = 10.0
ROOM: Final = {"tap": 64 << 20, "relay": 512 << 20}
"""Bytes of memory beyond what is mapped at the start and what waits of bodies: a tap's flows; of the relay what slow
clients may hold back in 3,000 connections, 500 with TLS: it refuses more rather than fail."""


def main(fd: int) -> int:
    """Works until the control socket closes. Returns the exit code: 0 done, `CODE_UNAVAILABLE`, 1 a fault.

    Args:
        fd: our end of the control socketpair, SOCK_SEQPACKET.
    """
    settle("pf-capture", os.getppid())
    control = Control(socket.socket(fileno=fd))
    orders = None
    try:
        orders = _first(control)
        sys.path += [folder for folder in orders.path if folder not in sys.path]
        work(orders, control)
    except ClosedError:
        return 0
    except Exception as error:  # noqa: BLE001 - the last boundary: the agent is told why, and starts us anew
        reason, words = getattr(error, "reason", None), getattr(error, "words", None)
        mode = "off"
        if reason in REASONS and isinstance(words, str):
            control.send(Report(mode, words, reason))
            return CODE_UNAVAILABLE
        traceback.print_exc()
        control.send(Report(mode, f"{type(error).__name__}: {error}", "failed"))
        return 1
    return 0


def work(orders: Orders, control: Control) -> None:
    """Runs the ordered loop to its end; what was seen until then is sent.

    Raises:
        ClosedError: the agent is gone.
        Exception: with ``reason`` and ``words`` where the loop cannot work here.
    """
    from pilotfish_agent.capture import _head
    from pilotfish_agent.capture.recorder import Recorder
    from pilotfish_agent.capture.sender import Sender

    _head.set_own(orders.own)
    loop = _loop(orders.mode)
    give_way(0 if orders.mode == "relay" else 10)  # the model's traffic waits for a relay
    limit_memory(ROOM[orders.mode] + 4 * orders.budget + 16 * orders.body_limit)
    sender = Sender(orders.intake)
    recorder = Recorder(sender, bodies=orders.bodies, budget=orders.budget, body_limit=orders.body_limit)
    try:
        loop(orders, recorder, control)
    finally:
        recorder.close()


def _loop(mode: str) -> Callable[[Orders, Recorder, Control], None]:
    """Imports only what the mode needs: asyncio and uvloop are the relay's alone."""
    if mode not in {"tap", "relay"}:
        raise ValueError(f"mode {mode!r}: expected tap or relay")
    run: Callable[[Orders, Recorder, Control], None] = importlib.import_module(f"pilotfish_agent.capture.{mode}").run
    return run


def _first(control: Control) -> Orders:
    poller = select.poll()
    poller.register(control.fileno(), select.POLLIN)
    if not poller.poll(FIRST_ORDERS_SECONDS * 1_000):
        raise ClosedError("no orders came")
    orders = control.poll()
    if orders is None:
        raise ClosedError("no orders that can be read came")
    return orders
