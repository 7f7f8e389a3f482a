"""A model that writes each signal it gets into argv[1], one name a line, and ``ready`` first.

With a second argument it takes every signal a program may, and writes numbers: real-time ones have no names.
"""

import os
import signal
import sys
import time

NAMES = ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "CONT", "WINCH")


def main() -> None:
    """Runs until told to stop by the file argv[1].stop, a minute at most."""
    out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(number: int, _frame: object) -> None:
        os.write(out, signal.Signals(number).name.encode() + b"\n")

    every = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP} if sys.argv[2:] else set()
    signal.pthread_sigmask(signal.SIG_BLOCK, every)  # taken one by one: a handler of Python's merges those of a kind
    for name in NAMES:
        signal.signal(getattr(signal, "SIG" + name), note)
    os.write(out, b"ready %d\n" % os.getpid())
    end = time.monotonic() + 60
    while time.monotonic() < end and not os.path.exists(sys.argv[1] + ".stop"):
        came = signal.sigtimedwait(every, 0.02)
        if came is not None:
            os.write(out, b"%d\n" % came.si_signo)


if __name__ == "__main__":
    main()
