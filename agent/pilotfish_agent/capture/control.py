"""What the agent and pf-capture say to each other: JSON datagrams over one socketpair. Standard library only.

The agent sends `Orders`, the newest one counts. The capture process sends a `Report` at least each 250 ms: it is its
heartbeat, and tells its absolute counts. Each end sees at once when the other one is gone.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from pilotfish_agent.launch.child import LARGEST

BEAT_SECONDS: Final = 0.25
IN_FLIGHT: Final = "in_flight"
"""Group of the counters that are no counts but of now: requests without a complete answer, by port."""
CODE_UNAVAILABLE: Final = 3
"""Exit code of a capture process that cannot work as ordered; its last Report says why."""

Reason = Literal["permission", "not_supported", "failed"]
REASONS: Final = ("permission", "not_supported", "failed")


class ClosedError(Exception):
    """The other end is gone: the agent has ended, or wants us to end."""


class CaptureUnavailableError(Exception):
    """What was ordered cannot be done here.

    Args:
        reason: one of `REASONS`.
        words: for people: what is missing, and what would give it.
    """

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(f"{reason}: {words}")
        self.reason = reason
        self.words = words


@dataclass(frozen=True, slots=True)
class RelayOrders:
    """What the relay does.

    Attributes:
        listen: ``HOST:PORT`` or ``[V6]:PORT`` to listen on.
        upstream: the model's address, in the same form; empty: the first port of `Orders.ports` on 127.0.0.1.
        cert: file of a certificate chain (PEM); empty: bytes pass as they are, and TLS gives timings only.
        key: file of its private key; empty: it is in ``cert``.
    """

    listen: str = ""
    upstream: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the capture process shall do; sent anew whenever any of it changes.

    Attributes:
        mode: ``tap`` or ``relay``. A process keeps its first mode: another one is another process.
        ports: TCP ports of the model, ascending; may be empty while it does not listen yet, and may change.
        interfaces: names of network interfaces to tap; empty: all of this network namespace.
        intake: path of the agent's intake socket.
        bodies: ``sampled``, ``all`` or ``none``.
        budget: bytes of bodies a second that are kept when ``sampled``.
        body_limit: bytes kept of one body; the rest is cut.
        relay: for mode ``relay``.
        own: a word in the `User-Agent` of our own requests, which are not the model's traffic; "": none.
        path: folders to append to ``sys.path`` where missing; read once, from the first orders.
    """

    mode: str = "tap"
    ports: tuple[int, ...] = ()
    interfaces: tuple[str, ...] = ()
    intake: str = ""
    bodies: str = "sampled"
    budget: int = 8 << 20
    body_limit: int = 1 << 20
    relay: RelayOrders = field(default_factory=RelayOrders)
    own: str = ""
    path: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Orders:
        """The inverse of `to_bytes`; unknown keys are passed over.

        Raises:
            ValueError: these bytes are no orders.
        """
        plain = _object(data)
        known = {name: plain[name] for name in cls.__slots__ if name in plain}
        for name in ("ports", "interfaces", "path"):
            known[name] = tuple(known.get(name, ()))
        relay = known.get("relay", {})
        known["relay"] = RelayOrders(**{name: str(relay.get(name, "")) for name in RelayOrders.__slots__})
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Report:
    """One heartbeat.

    Attributes:
        mode: in force: ``tap`` or ``relay``; ``off`` when nothing can be captured.
        problem: for people: why it is off, or what is amiss while it works; None: all is well.
        reason: one of `REASONS` when `mode` is ``off``, else None.
        counters: absolute counts since this process started, named ``GROUP:REASON``: ``exchanges:complete``,
            ``dropped:capture_buffer``, ``framing:two_lengths``.
    """

    mode: str
    problem: str | None = None
    reason: str | None = None
    counters: Mapping[str, int] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As JSON, within `LARGEST`: counters that do not fit are left out."""
        plain = asdict(self) | {"problem": self.problem and self.problem[:2_000]}
        data = json.dumps(plain, separators=(",", ":")).encode()
        return data if len(data) <= LARGEST else json.dumps(plain | {"counters": {}}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """The inverse of `to_bytes`.

        Raises:
            ValueError: these bytes are no report.
        """
        plain = _object(data)
        counters = plain.get("counters", {})
        if not isinstance(counters, dict) or not all(type(n) is int for n in counters.values()):
            raise ValueError("counters: expected names with whole numbers")
        problem, reason = plain.get("problem"), plain.get("reason")
        return cls(
            mode=str(plain.get("mode", "off")),
            problem=None if problem is None else str(problem),
            reason=reason if reason in REASONS else None,
            counters=counters,
        )


class Control:
    """The capture process' end. Never blocks.

    Args:
        connection: a SOCK_SEQPACKET socket; made non-blocking.
    """

    __slots__ = ("_connection", "_due", "_told")

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._due = 0.0
        self._told: tuple[str, str | None] | None = None

    def fileno(self) -> int:
        """Readable when there are new orders, or when the agent is gone."""
        return self._connection.fileno()

    def poll(self) -> Orders | None:
        """The newest orders since the last call; None: nothing new.

        Raises:
            ClosedError: the agent is gone.
        """
        newest = None
        while True:
            try:
                data = self._connection.recv(LARGEST)
            except BlockingIOError:
                return newest
            except OSError as error:
                raise ClosedError(str(error)) from error
            if not data:
                raise ClosedError("the agent has closed the control socket")
            try:
                newest = Orders.from_bytes(data)
            except (ValueError, TypeError):
                pass  # only our own agent is at the other end: a damaged message is no reason to end

    def beat(self, now: float, counters: Mapping[str, int], mode: str, problem: str | None = None) -> None:
        """I am well; cheap, and sent at most each `BEAT_SECONDS` while mode and problem stay the same.

        Args:
            now: monotonic seconds.
            counters: absolute, see `Report`.
            mode: in force.
            problem: what is amiss, for people.
        """
        told = (mode, problem)
        if now < self._due and told == self._told:
            return
        self._due, self._told = now + BEAT_SECONDS, told
        self.send(Report(mode, problem, None, counters))

    def send(self, report: Report) -> None:
        """Sends one report; it is dropped where the agent does not read (it is stopped) or is gone (`poll` tells)."""
        try:
            self._connection.send(report.to_bytes(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass


def _object(data: bytes) -> dict[str, Any]:
    plain = json.loads(data)
    if not isinstance(plain, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - what comes from outside is a bad value
    return plain
