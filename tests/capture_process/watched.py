"""A supervisor around the stand-in, and ways to wait for what it must do."""

import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

from pilotfish_agent.capture.settings import Config
from pilotfish_agent.capture.supervisor import Supervisor
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Events

STAND_IN = pathlib.Path(__file__).with_name("stand_in.py")
PATIENCE = 30.0


T = TypeVar("T")


def until(what: Callable[[], T], why: str) -> T:
    """Waits for something that must come; how long it takes is no matter here."""
    end = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < end, f"waited {PATIENCE:.0f} s for: {why}"
        time.sleep(0.01)
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def command(folder: pathlib.Path, behaviour: str = "work") -> list[str]:
    """Starts the stand-in; the descriptor's number is added."""
    return [sys.executable, "-I", str(STAND_IN), str(folder), behaviour]


MODEL = """
import socket, sys
servers = {}
for line in sys.stdin:
    word, _, port = line.strip().partition(" ")
    if word == "open":
        server = socket.create_server(("::1" if port == "6" else "127.0.0.1", 0), family=10 if port == "6" else 2)
        servers[server.getsockname()[1]] = server
        print(server.getsockname()[1], flush=True)
    else:
        servers.pop(int(port)).close()
        print(flush=True)
"""


class Model:
    """A process that listens as it is told."""

    def __init__(self, *before: str) -> None:
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, text: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def open(self, family: int = 4) -> int:
        """Listens on one more port."""
        return int(self._ask(f"open {family}"))

    def close(self, port: int) -> None:
        """Listens on that one no more."""
        self._ask(f"close {port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()


class Watched(Supervisor):
    """A supervisor of the stand-in, told to watch a process."""

    def __init__(
        self,
        folder: pathlib.Path,
        config: Config,
        behaviour: str = "work",
        *,
        hang: float = 2.0,
        model: int = 0,
        scraped: frozenset[int] = frozenset(),
    ) -> None:
        self.events = Events(SystemClock())
        super().__init__(
            config,
            f"{folder}/intake.sock",
            events=self.events,
            command=command(folder, behaviour),
            hang=hang,
            scraped=scraped,
            able=lambda: None,
        )
        self.folder = folder
        if model:
            self.follow((("me", (model,)),))

    def orders(self) -> list[tuple[int, list[int]]]:
        """(pid, ports) of all orders that were obeyed so far."""
        try:
            lines = (self.folder / "orders").read_text().splitlines()
        except OSError:
            return []
        return [(int(pid), list(map(int, ports))) for pid, *ports in map(str.split, lines)]

    def count(self, event: str) -> float:
        """How often an event was told."""
        found = [s.value for s in self.events.samples() if s.labels[0] == event]
        return float(found[0]) if found and isinstance(found[0], float) else 0.0

    def captured(self) -> int:
        """pid of a capture process that beats."""
        return until(lambda: self.view.pid if self.view.mode == "tap" else None, "a capture process that beats") or 0


@contextmanager
def running(supervisor: Watched) -> Iterator[Watched]:
    """Started, and stopped at the end."""
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
