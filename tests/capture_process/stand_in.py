"""``stand_in.py FOLDER BEHAVIOUR FD``: the real pf-capture process around a loop that only does what a test needs.

It writes the ports of its orders and its pid into FOLDER/orders, one line each time there are new ones.
"""

import os
import pathlib
import select
import sys
import time
import types
from typing import NoReturn

sys.path.append(str(pathlib.Path(__file__).parents[2] / "agent"))

from pilotfish_agent.capture import process
from pilotfish_agent.capture.control import CaptureUnavailableError, Control, Orders

FOLDER, BEHAVIOUR, FD = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def run(orders: Orders, recorder: object, control: Control) -> NoReturn:
    """Beats and counts; or fails as BEHAVIOUR says."""
    del recorder
    if BEHAVIOUR == "unavailable":
        raise CaptureUnavailableError("permission", "not here")
    if BEHAVIOUR == "crash":
        raise RuntimeError("a fault of ours")
    count = 0
    newest: Orders | None = orders
    while True:
        if newest is not None:
            with open(FOLDER / "orders", "a", encoding="ascii") as file:
                file.write(f"{os.getpid()} {' '.join(map(str, newest.ports))}\n")
        count += 1
        seen = "opaque" if BEHAVIOUR == "sealed" else "success"
        control.beat(time.monotonic(), {f"exchanges:{seen}": count, "framing:two_lengths": 1}, "tap")
        poller = select.poll()
        poller.register(control.fileno(), select.POLLIN)
        poller.poll(20)
        newest = control.poll()


loop = types.ModuleType("pilotfish_agent.capture.tap")
loop.run = run  # type: ignore[attr-defined]
sys.modules[loop.__name__] = loop
sys.exit(process.main(FD))
