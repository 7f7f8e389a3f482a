"""What the guard gives to the agent, and what the agent owes the guard. Standard library only; forks carry it.

The guard starts ``python -I .../pilotfish_agent/__main__.py agent /dev/fd/5`` with

====  ==========================================================================================
fd    is
====  ==========================================================================================
0     /dev/null
1, 2  the agent's log file, opened for appending (what the interpreter says when it crashes)
3     the write end of the heartbeat pipe, non-blocking: `Heart`
4     a pidfd of the model, readable once the model has ended (absent before Linux 5.3: -1)
5     the serialised `Handover`; ``__main__`` reads and closes it
====  ==========================================================================================

in a process group of its own, without a terminal, with all signals at their defaults and none blocked, in ``/``,
umask 077, and the model's environment.

The agent owes:

* **Heartbeats.** `Heart.beat` at each step, seconds apart, from the loop it vouches for. 10 s of silence, or 30 s from
  the start to `Heart.ready`, and it is killed (SIGKILL, its whole process group) and started anew.
* **Readiness.** `Heart.ready` once, after the address file stands and the first sample is in: its text is the one
  start line on stderr. `Heart.warn` before that is one line each (a bad configuration, a taken port); later ones
  are dropped, because the guard has closed stderr by then.
* **The end.** When fd 4 becomes readable or at SIGTERM: flush sinks and state and exit 0 within 0.7 s; after that it
  is killed. The guard records how the model ended in ``<state_dir>/last_exit.json`` and removes the runtime folder.
  An agent whose guard was killed (`Heart.alone`) goes on, and leaves by itself when the model ends.
* **Why.** `Heart.ended` before it leaves, where it knows more of the model's end than the wait status: ``oom``.
* **Exit codes.** 0: done. 78 (`CANNOT_RUN`): it can never run here, do not restart. Anything else: a crash; restarted
  with back-off 50 ms .. 30 s, which counts only deaths within 10 s of a start; given up after 10 deaths in 5 minutes.
"""

import os

HEARTBEAT_FD = 3
PIDFD_FD = 4
HANDOVER_FD = 5
CANNOT_RUN = 78  # EX_CONFIG of sysexits.h
LONGEST = 4000  # bytes of one message: below PIPE_BUF (4096), so that a write is whole or not at all

_TEXTS = ("instance", "runtime_dir", "state_dir", "log_file", "target", "cwd")
_NUMBERS = ("model_pid", "model_start", "launched_ns", "heartbeat_fd", "model_pidfd", "restarts")
_LISTS = ("command", "path", "problems")


class Handover:
    """Everything an agent under `run` must be told.

    Attributes:
        instance: instance name.
        runtime_dir: the instance's folder for ``intake.sock``, ``control.sock`` and ``address``; exists, ours.
        state_dir: the instance's state folder; exists and is locked by the guard. Empty: none could be made.
        log_file: where the log goes when there is no journal. Empty: nowhere.
        target: base name of CMD, the ``target`` label's default.
        cwd: the model's working directory at the start; empty when unknown.
        model_pid: the model's pid.
        model_start: field 22 of its /proc/PID/stat, in clock ticks since boot; 0 when unknown.
        launched_ns: epoch nanoseconds at the launch.
        heartbeat_fd: for `Heart`; -1: nobody listens.
        model_pidfd: readable when the model has ended; -1: none, watch pid and start time.
        restarts: how often the guard has started an agent anew.
        command: CMD and its arguments.
        path: folders to append to ``sys.path`` where missing: how the launcher found its modules.
        problems: what the launcher could not do, one line each (already printed).
        options: the options given, by name without dashes; paths are absolute.
    """

    __slots__ = (*_TEXTS, *_NUMBERS, *_LISTS, "options")

    def __init__(self, **fields: str | int | list[str] | dict[str, str]) -> None:
        self.instance = self.runtime_dir = self.state_dir = self.log_file = self.target = self.cwd = ""
        self.model_pid = self.model_start = self.launched_ns = self.restarts = 0
        self.heartbeat_fd = self.model_pidfd = -1
        self.command: list[str] = []
        self.path: list[str] = []
        self.problems: list[str] = []
        self.options: dict[str, str] = {}
        for name, value in fields.items():
            setattr(self, name, value)

    @property
    def intake(self) -> str:
        """The intake's socket: what PILOTFISH_SOCKET names."""
        return f"{self.runtime_dir}/intake.sock"

    @property
    def address_file(self) -> str:
        """Where the agent writes the address it is bound to, ``127.0.0.1:7374`` and a newline."""
        return f"{self.runtime_dir}/address"

    def to_bytes(self) -> bytes:
        """``name=value`` fields, each ended by NUL; lists and options repeat."""
        words = [f"{name}={getattr(self, name)}" for name in (*_TEXTS, *_NUMBERS)]
        words += [f"{name}={value}" for name in _LISTS for value in getattr(self, name)]
        words += [f"option={name}={value}" for name, value in self.options.items()]
        return b"".join(os.fsencode(word) + b"\0" for word in words)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Handover":
        """The inverse of `to_bytes`.

        Raises:
            ValueError: these bytes are no handover.
        """
        self = cls()
        if not data.endswith(b"\0"):
            raise ValueError("handover: truncated; expected NUL-terminated fields")
        for word in map(os.fsdecode, data[:-1].split(b"\0")):
            name, given, value = word.partition("=")
            if name in _TEXTS and given:
                setattr(self, name, value)
            elif name in _NUMBERS and given:
                setattr(self, name, int(value))
            elif name in _LISTS and given:
                getattr(self, name).append(value)
            elif name == "option" and "=" in value:
                key, _, text = value.partition("=")
                self.options[key] = text
            else:
                raise ValueError(f"handover: unknown field {name!r}")
        return self


class Heart:
    """The agent's end of the heartbeat pipe. Never blocks, never raises.

    Args:
        fd: write end, non-blocking; -1 when nobody listens.
    """

    __slots__ = ("_fd", "alone")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.alone = fd < 0

    def beat(self) -> None:
        """I am well."""
        self._send(b".", "")

    def warn(self, text: str) -> None:
        """One line for the user's stderr, while the start line is not out."""
        self._send(b"W", text)

    def ready(self, text: str) -> None:
        """The start line: ``watching PID 7 (serve.py), metrics on http://127.0.0.1:7374/metrics, log FILE``."""
        self._send(b"R", text)

    def tell(self, text: str) -> None:
        """What is watched now: the guard shows it to nobody."""

    def leave(self) -> None:
        """The guard sees the end by itself."""

    def ended(self, cause: str) -> None:
        """How the model ended, where that is known better than its wait status tells."""
        self._send(b"E", cause)

    def _send(self, kind: bytes, text: str) -> None:
        if self.alone:
            return
        line = text.replace("\n", " ").encode("utf-8", "backslashreplace")[: LONGEST - 2]
        try:
            os.write(self._fd, kind + line + b"\n")
        except BlockingIOError:
            pass  # the guard is stopped: it will read the beats that wait
        except OSError:
            self.alone = True


class Messages:
    """The guard's end: cuts what comes out of the pipe into messages, whatever the pieces. Bounded."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """(kind, text) of each whole line in ``data`` and what was left of earlier pieces.

        kind is ``.``, ``W``, ``R`` or ``E``; other lines are dropped. Control characters of a text become ``?``: it
        goes to the user's terminal.
        """
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LONGEST]
        found = [(line[:1].decode("ascii", "replace"), _printable(line[1:])) for line in lines if line]
        return [(kind, text) for kind, text in found if kind in {".", "W", "R", "E"}]


def _printable(raw: bytes) -> str:
    text = raw[:LONGEST].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)
