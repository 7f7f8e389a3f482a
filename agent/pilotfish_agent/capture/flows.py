"""TCP reassembly without a copy: from packets to the two directions of each connection, in order.

What the capture lost is told to the connection's `Talk`, never guessed: a gap is closed by the missing segment, or
given up when the other end acknowledges bytes we have not seen (it has them, so nobody will send them again), or when
too much waits behind it for too long. Bounds: flows, bytes that wait, and the memory of connections that are over.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from pilotfish_agent.capture import packets
from pilotfish_agent.capture.flows_state import FAR, MASK, SECOND, Flow, Half, Talk, nowhere, serial
from pilotfish_agent.capture.packets import ACK, FIELDS, FIN, PLAIN, RST, SYN, UNUSUAL, Buffer
from pilotfish_agent.capture.ring import NETWORK, PACKET

MOST_FLOWS: Final = 16_384
MOST_OVER: Final = 4_096
OVER_NS: Final = 10 * SECOND
"""How long a connection is known after its end: what is sent again then must not look like a new one."""
HELD_NS: Final = SECOND
"""How long later segments wait for a missing one: a retransmission takes 0.2 s and a round trip."""
HELD_SEGMENTS: Final = 64
HELD_BYTES: Final = 256 << 10
"""Of one direction; `ALL_HELD_BYTES` of all."""
ALL_HELD_BYTES: Final = 4 << 20
NEAR: Final = 1 << 20
"""A SYN that is late belongs to bytes that are not farther on."""
IDLE_ROUNDS: Final = 60
"""Of 10 s: a quiet connection is forgotten after 10 minutes, one with an open exchange after an hour."""
OPEN_ROUNDS: Final = 360
ROUND_NS: Final = 10 * SECOND
COUNTERS: Final = (
    "packets", "fragment", "not_tcp", "malformed", "cut", "repeated", "reordered", "gaps", "late", "unclear_ports",
    "evicted", "failed",
)  # fmt: skip


class Flows:
    """All connections of some ports.

    Args:
        ports: TCP ports of the servers.
        start: makes the `Talk` of a connection to a port; `joined`: its begin was not seen.

    Attributes:
        counters: absolute, see `COUNTERS`.
        latest: time of the newest packet, epoch ns.
    """

    def __init__(self, ports: Collection[int], start: Callable[[int, bool], Talk]) -> None:
        self._ports = frozenset(ports)
        self._start = start
        self._fast: dict[bytes, Half] = {}
        self._halves: dict[bytes, Half] = {}
        self._over: deque[tuple[int, Flow]] = deque()
        self._holding: dict[Half, None] = {}
        self._held_bytes = 0
        self._round = 0
        self.latest = 0
        self.counters = dict.fromkeys(COUNTERS, 0)

    def __len__(self) -> int:
        return len(self._halves) // 2

    def in_flight(self) -> dict[int, int]:
        """Requests without a complete answer, by port."""
        found = dict.fromkeys(self._ports, 0)
        for half in self._halves.values():
            if half.client and half.flow.talk is not None:
                found[half.flow.port] = found.get(half.flow.port, 0) + half.flow.talk.in_flight
        return found

    def block(self, memory: Buffer, at: int, count: int) -> None:
        """Takes ``count`` packets of a ring's block; the first one's head is at ``at``."""
        get, head, fields = self._fast.get, PACKET.unpack_from, FIELDS.unpack_from
        now = self.latest
        for _ in range(count):
            following, seconds, nanos, held, length = head(memory, at)
            now = seconds * SECOND + nanos
            ip = at + NETWORK
            at += following
            try:
                first, total, key, seq, ack, offset, flags = fields(memory, ip)
                half = get(key)
                if (
                    half is not None
                    and half.next == seq
                    and half.peer.next == ack
                    and first == PLAIN
                    and total <= held
                    and not flags & UNUSUAL
                ):
                    begin, stop = ip + 20 + ((offset & 0xF0) >> 2), ip + total
                    if begin < stop:
                        half.next = (seq + stop - begin) & MASK
                        half.feed(memory, begin, stop, now)
                        continue
                self.packet(memory, ip, held, length, now)
            except (struct.error, IndexError):
                self.counters["malformed"] += 1
            except Exception:  # noqa: BLE001 - one connection's failure must not end the view of all others
                self._failed(memory, ip, held, length)
        self.counters["packets"] += count
        self.latest = now

    def packet(self, memory: Buffer, ip: int, held: int, length: int, now: int) -> None:
        """Any packet: its network header is at ``ip``, ``held`` of its ``length`` bytes are there."""
        segment = packets.parse(memory, ip, held, length)
        if isinstance(segment, str):
            self.counters[segment] += 1
            return
        key, seq, ack, flags, begin, stop, cut = segment
        self.counters["cut"] += cut
        half = self._halves.get(key)
        if flags & SYN:
            seq = (seq + 1) & MASK
            half = self._opened(half, key, seq, flags, now)
        elif half is None and begin < stop:
            half = self._joined(key, seq, flags, now)
        if half is None:
            return
        flow = half.flow
        if flow.over:
            self.counters["late"] += 1
            return
        early = half.misses(seq)
        if not early and flags & ACK:
            self._acknowledged(half.peer, ack, now)
            if half.flow.over:
                return  # the server's end, which was waiting for bytes that we have lost
            early, ack = half.misses(seq), -1  # what waited there may have told where this direction is
        if begin < stop and early:
            self._hold(half, seq, memory[begin:stop], ack if flags & ACK else -1, now)
        elif begin < stop:
            self._bytes(half, seq, memory, begin, stop, now)
        if flags & FIN and not cut:
            fin = (seq + stop - begin) & MASK
            half.fin = fin if serial(fin, half.next) >= 0 else -1
            self._finish(half, now)
        if flags & RST and not flow.over:
            self._end(flow, now, reset=True)
        elif not flow.fast:
            self._settle(flow)

    def tick(self, now: int) -> None:
        """Gives up what has waited too long; ``now`` in epoch ns. To be called some times a second."""
        for half in [h for h in self._holding if now - h.since > HELD_NS]:
            self._skip(half, now)
        while self._over and now - self._over[0][0] > OVER_NS:
            self._forget(self._over.popleft()[1])
        if now - self._round > ROUND_NS:
            self._round = now
            self._look_for_idle(now)

    def watch(self, ports: Collection[int], now: int) -> None:
        """From now on these ports; connections to others are given up."""
        self._ports = frozenset(ports)
        for half in [h for h in self._halves.values() if h.client and h.flow.port not in self._ports]:
            self._give_up(half.flow, now)
            self._forget(half.flow)

    def close(self, now: int) -> None:
        """The tap ends here: what is open is `incomplete`."""
        self.watch((), now)

    # -- the begin and the end of a flow

    def _opened(self, half: Half | None, key: bytes, start: int, flags: int, now: int) -> Half | None:
        """A SYN: a new connection, unless it is the one we know, sent again."""
        if half is not None and half.start == start:
            return half
        if half is not None and not half.flow.over and half.start < 0:
            if half.next < 0:
                half.next = start
            if 0 <= serial(half.next, start) < NEAR:  # it is late: the first bytes came before it
                half.start = start
                return half
        client = self._from_client(key, flags)
        if client is None:
            return None
        if half is not None:  # the port is used again, and we have missed the end
            self._give_up(half.flow, now)
            self._forget(half.flow)
        made = self._make(key, client=client, joined=False, now=now)
        made.start = made.next = start
        return made

    def _joined(self, key: bytes, seq: int, flags: int, now: int) -> Half | None:
        """The first we see of a connection that is already there."""
        client = self._from_client(key, flags)
        if client is None:
            return None
        made = self._make(key, client=client, joined=True, now=now)
        made.next = seq
        return made

    def _from_client(self, key: bytes, flags: int) -> bool | None:
        source, destination = packets.ports(key)
        to, out_of = destination in self._ports, source in self._ports
        if to and out_of:
            if flags & SYN:
                return not flags & ACK
            self.counters["unclear_ports"] += 1
            return None
        return to if to or out_of else None

    def _make(self, key: bytes, *, client: bool, joined: bool, now: int) -> Half:
        if len(self) >= MOST_FLOWS:
            self._make_room(now)
        flow = Flow(key if client else packets.reverse(key), packets.ports(key)[client], joined=joined)
        self._halves[flow.client.key], self._halves[flow.server.key] = flow.client, flow.server
        return flow.client if client else flow.server

    def _settle(self, flow: Flow) -> None:
        """Both directions are known and whole: the short way."""
        client, server = flow.client, flow.server
        if flow.talk is None or flow.over or client.next < 0 or server.next < 0 or client.held or server.held:
            return
        flow.fast = True
        self._fast[client.key], self._fast[server.key] = client, server

    def _unsettle(self, flow: Flow) -> None:
        if flow.fast:
            flow.fast = False
            del self._fast[flow.client.key], self._fast[flow.server.key]

    def _finish(self, half: Half, now: int) -> None:
        """The end of a direction, once all before it is there. After the server's there is no more answer."""
        if half.fin < 0 or half.next != half.fin or half.flow.over:
            return
        half.next = (half.next + 1) & MASK
        half.fin = -1
        if not half.client:
            self._end(half.flow, now, reset=False)

    def _end(self, flow: Flow, now: int, *, reset: bool) -> None:
        flow.over = True
        for half in (flow.client, flow.server):
            while half.held:
                self._skip(half, now)
        self._unsettle(flow)
        if flow.talk is not None:
            flow.talk.end(now, reset=reset)
        flow.talk = None
        flow.client.feed = flow.server.feed = nowhere
        self._over.append((now, flow))
        if len(self._over) > MOST_OVER:
            self._forget(self._over.popleft()[1])

    def _forget(self, flow: Flow) -> None:
        self._unsettle(flow)
        for half in (flow.client, flow.server):
            self._drop_held(half)
            if self._halves.get(half.key) is half:
                del self._halves[half.key]

    def _give_up(self, flow: Flow, now: int) -> None:
        """We stop looking: what is open is cut by us, not by the connection."""
        talk, flow.talk = flow.talk, None
        flow.over = True
        if talk is not None:
            talk.lost(from_client=True)
            talk.lost(from_client=False)
            talk.end(now)

    def _make_room(self, now: int) -> None:
        """Forgets a sixteenth: connections that are over, then those without bytes, then the quietest."""
        flows = [half.flow for half in self._halves.values() if half.client]
        flows.sort(key=lambda flow: (not flow.over, flow.talk is not None, -flow.idle))
        for flow in flows[: max(1, MOST_FLOWS // 16)]:
            if not flow.over:
                self.counters["evicted"] += 1
                self._give_up(flow, now)
            self._forget(flow)

    def _look_for_idle(self, now: int) -> None:
        for flow in [half.flow for half in self._halves.values() if half.client and not half.flow.over]:
            mark = (flow.client.next, flow.server.next)
            flow.idle = flow.idle + 1 if mark == flow.mark else 0
            flow.mark = mark
            if flow.idle > (OPEN_ROUNDS if flow.talk is not None and flow.talk.in_flight else IDLE_ROUNDS):
                self._give_up(flow, now)
                self._forget(flow)

    def _failed(self, memory: Buffer, ip: int, held: int, length: int) -> None:
        """Our own code failed at this packet: its connection is given up."""
        self.counters["failed"] += 1
        segment = packets.parse(memory, ip, held, length)
        half = None if isinstance(segment, str) else self._halves.get(segment.key)
        if half is not None:
            half.flow.talk = None
            self._forget(half.flow)

    # -- the bytes

    def _bytes(self, half: Half, seq: int, data: Buffer, begin: int, stop: int, now: int) -> None:
        if half.next < 0:
            half.next = seq
        ahead = serial(seq, half.next)
        if not -FAR < ahead < FAR:
            self._drop_held(half)
            self._lose(half, seq)
            ahead = 0
        if ahead < 0:
            self.counters["repeated"] += 1
            begin -= ahead
        if begin < stop:
            self._feed(half, data, begin, stop, now)
            if half.held:
                self._drain(half, now, filled=True)

    def _feed(self, half: Half, data: Buffer, begin: int, stop: int, now: int) -> None:
        half.next = (half.next + stop - begin) & MASK
        flow = half.flow
        if flow.talk is None:
            flow.talk = talk = self._start(flow.port, flow.joined)
            flow.client.feed, flow.server.feed = talk.request, talk.response
        half.feed(data, begin, stop, now)

    def _acknowledged(self, half: Half, ack: int, now: int) -> None:
        """The other end has all of ``half`` before ``ack``: what we have not seen of it, we have lost."""
        if half.next < 0:
            half.next = ack
            return
        while 0 < serial(ack, half.next) < FAR:
            if half.held and serial(half.held[0][0], ack) < 0:
                self._skip(half, now)
                continue
            ended = half.fin >= 0 and serial(ack, half.fin) > 0
            self._lose(half, half.fin if ended else ack)
            self._drain(half, now)

    def _lose(self, half: Half, seq: int) -> None:
        """Goes on at ``seq``."""
        self.counters["gaps"] += 1
        half.next = seq
        if half.flow.talk is not None:
            half.flow.talk.lost(from_client=half.client)
        else:
            half.flow.joined = True

    def _hold(self, half: Half, seq: int, data: bytes, ack: int, now: int) -> None:
        """Keeps a segment that comes after a gap; gives the gap up when too much is kept."""
        self._unsettle(half.flow)
        at = len(half.held)
        while at and serial(seq, half.held[at - 1][0]) < 0:
            at -= 1
        half.held.insert(at, (seq, data, ack, now))
        half.held_bytes += len(data)
        self._held_bytes += len(data)
        if half not in self._holding:
            self.counters["reordered"] += 1
            half.since = now
            self._holding[half] = None
        while half.held and (
            len(half.held) > HELD_SEGMENTS or half.held_bytes > HELD_BYTES or self._held_bytes > ALL_HELD_BYTES
        ):
            self._skip(half, now)
        while half.held and half.peer.held:  # each may wait for what the other one acknowledges: the earlier goes on
            self._skip(min(half, half.peer, key=lambda each: each.held[0][3]), now)

    def _skip(self, half: Half, now: int) -> None:
        """Gives up the gap before the first segment that waits."""
        if serial(half.held[0][0], half.next) > 0:
            self._lose(half, half.held[0][0])
        self._drain(half, now)

    def _drain(self, half: Half, now: int, *, filled: bool = False) -> None:
        """Gives on what no longer waits; where the gap was ``filled`` it could be read only now."""
        held = half.held
        while held and serial(held[0][0], half.next) <= 0:
            seq, data, ack, then = held[0]
            if ack >= 0:  # what it acknowledges came before it, not before what it waited for
                held[0] = (seq, data, -1, then)
                self._acknowledged(half.peer, ack, now)
                continue
            del held[0]
            half.held_bytes -= len(data)
            self._held_bytes -= len(data)
            known = serial(half.next, seq)
            if known < len(data):
                self._feed(half, data, known, len(data), max(then, now) if filled else then)
        if not held:
            self._holding.pop(half, None)
        self._finish(half, now)

    def _drop_held(self, half: Half) -> None:
        self._held_bytes -= half.held_bytes
        half.held_bytes = 0
        half.held.clear()
        self._holding.pop(half, None)
