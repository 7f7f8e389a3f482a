"""A process whose only child is replaced, on command, by another one with the same PID: clone3 lets one choose it.

Choosing needs CAP_CHECKPOINT_RESTORE in the PID namespace's user namespace, and Linux 5.5.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MODEL = """
import ctypes, os, signal, struct, sys, time
libc = ctypes.PyDLL(None)

def live(generation):
    libc.prctl(15, b"gen-%d" % generation, 0, 0, 0)
    for _ in range(5 + 20 * (generation % 2)): time.sleep(1e-6)
    os.write(1, b"%d\\n" % pid)
    while True: signal.pause()

def start(generation, chosen):
    if chosen is None:
        born = os.fork()
    else:
        tids = (ctypes.c_int * 1)(chosen)
        arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tids), 1, 0)
        born = libc.syscall(435, arguments, len(arguments))
    if born == 0:
        global pid
        pid = os.getpid()
        live(generation)
    return born

pid = start(0, None)
generation = 0
while sys.stdin.readline():
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    generation += 1
    if start(generation, pid) != pid: break
"""
"""Each generation names itself, and sleeps oftener or less often than the one before: their numbers differ."""


class Reusing:
    """The running parent.

    Attributes:
        parent: its PID.
        child: the PID that all generations of its child have.
        generation: of the present one.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.parent = process.pid
        self.generation = 0
        self.child = self._told()

    def reuse(self) -> None:
        """Ends the child and starts another with its number.

        Raises:
            PermissionError: nobody may choose a PID here.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("next\n")
        self._process.stdin.flush()
        self.generation += 1
        if self._told() != self.child:
            raise PermissionError("clone3 with set_tid: needs CAP_CHECKPOINT_RESTORE and Linux 5.5")

    def _told(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline() or 0)


@contextmanager
def reusing() -> Iterator[Reusing]:
    """A parent with its first child; both end with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", MODEL], stdin=pipe, stdout=pipe, text=True) as process:
        found = Reusing(process)
        try:
            yield found
        finally:
            process.kill()
            subprocess.run(["kill", "-9", str(found.child)], capture_output=True)
