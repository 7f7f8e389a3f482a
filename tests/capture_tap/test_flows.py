"""Reassembly: what is lost, out of order, repeated or cut, with the real framing behind it."""

from __future__ import annotations

import itertools

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilotfish import exchange
from pilotfish_agent.capture import flows as limits
from pilotfish_agent.capture.packets import ACK, SYN
from tests.capture_tap.build import CLIENT, PORT, SERVER, Link, Seen, answer, packet, request

BAD = exchange.INCOMPLETE | exchange.ABORTED | exchange.AMBIGUOUS


def lines(seen: Seen, *, close: bool = True) -> list[tuple[bytes, int, int]]:
    """(line, status, flags) of each exchange."""
    return [(line, r.status, r.flags) for line, r in seen.records(close=close)]


def test_an_exchange_has_the_kernels_times_and_sizes() -> None:
    """Started at the first byte of the request, done with the last of the answer; sizes on the connection."""
    whole = answer(1)
    link = Link().opens().asks(request(1)).answers(whole[:50], whole[50:])
    ((line, record),) = Seen().give(link.packets).records()
    assert line == b"POST /r1"
    assert (record.first, record.duration) == (1_000_000, 2_000_000)
    assert (record.request_bytes, record.response_bytes, record.status) == (len(request(1)), len(answer(1)), 211)


def test_ipv6_extension_headers_and_ipv4_options_are_read() -> None:
    """Neither hides the segment."""
    hop = (0, bytes([0]) + bytes(6))
    one, other = ("fe80::2", 40_000), ("fe80::1", PORT)
    packets = [
        packet(source=one, to=other, seq=9, flags=SYN, extensions=[hop]),
        packet(source=other, to=one, seq=99, ack=10, flags=SYN | ACK),
        packet(request(1), source=one, to=other, seq=10, ack=100, extensions=[hop, (60, bytes([1]) + bytes(14))]),
        packet(answer(1), source=other, to=one, seq=100, ack=10 + len(request(1))),
        packet(request(2), seq=10, ack=100, options=b"\x01" * 8),
        packet(answer(2), source=(SERVER, PORT), to=(CLIENT, 40_000), seq=100, ack=10 + len(request(2))),
    ]
    assert [line for line, _, flags in lines(Seen().give(packets)) if not flags] == [b"POST /r1", b"POST /r2"]


def test_fragments_and_what_is_no_tcp_are_counted() -> None:
    """And nothing else happens."""
    seen = Seen().give([packet(b"x" * 90, fragment=0x2000), packet(protocol=17), packet()[:18], b"\x90" * 40, b""])
    counted = seen.flows.counters
    assert (counted["fragment"], counted["not_tcp"], counted["malformed"]) == (1, 1, 3)
    assert len(seen.flows) == 0


@given(st.binary(max_size=120), st.integers(0, 120))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_packet_or_counted(data: bytes, held: int) -> None:
    """Nothing a network can bring ends the view."""
    seen = Seen().give([data, packet()[:held], bytes([0x45]) + data, bytes([0x60]) + data])
    assert seen.flows.counters["failed"] == 0


def test_sequence_numbers_wrap() -> None:
    """At 2^32 they begin anew."""
    link = Link(client_seq=2**32 - 60, server_seq=2**32 - 3).opens()
    for number in range(5):
        link.asks(request(number)).answers(answer(number))
    seen = Seen().give(link.ends().packets)
    assert [flags for _, _, flags in lines(seen)] == [0] * 5
    assert seen.flows.counters["gaps"] == 0


def test_a_keep_alive_probe_and_a_retransmission_are_not_new_bytes() -> None:
    """A probe repeats the last byte, a retransmission may repeat and go on."""
    link = Link().opens().asks(request(1))
    repeated = packet(b"\0", seq=link.client_seq - 1, ack=link.server_seq)
    link.packets += [repeated, link.packets[2]]
    link.answers(answer(1))
    second = request(2)
    overlap = packet(request(1)[-30:] + second[:40], seq=link.client_seq - 30, ack=link.server_seq)
    rest = packet(second[20:], seq=link.client_seq + 20, ack=link.server_seq)
    link.client_seq += len(second)
    link.packets += [overlap, rest]
    seen = Seen().give(link.answers(answer(2)).ends().packets)
    assert lines(seen) == [(b"POST /r1", 211, 0), (b"POST /r2", 212, 0)]
    assert seen.flows.counters["gaps"] == 0


def test_a_segment_that_comes_late_is_put_in_its_place() -> None:
    """Within the bounds of what may wait."""
    long = request(1, 5_000)
    link = Link().opens().asks(*(long[i : i + 500] for i in range(0, len(long), 500))).answers(answer(1))
    p = link.packets
    seen = Seen().give([*p[:3], *reversed(p[3:-1]), p[-1]])
    assert lines(seen) == [(b"POST /r1", 211, 0)]
    assert (seen.flows.counters["reordered"] > 0, seen.flows.counters["gaps"]) == (True, 0)


def test_a_lost_answer_makes_its_exchange_incomplete_and_no_other() -> None:
    """The client's next request acknowledges what we have not seen."""
    link = Link().opens()
    for number in (1, 2, 3):
        link.asks(request(number)).answers(answer(number))
    p = link.ends().packets
    del p[3]
    found = {line: (status, flags) for line, status, flags in lines(Seen().give(p))}
    assert found == {
        b"POST /r1": (0, exchange.INCOMPLETE),
        b"POST /r2": (212, 0),
        b"POST /r3": (213, 0),
    }


def test_a_lost_request_takes_no_other_ones_answer() -> None:
    """Its answer is seen and belongs to nothing."""
    link = Link().opens()
    for number in (1, 2, 3):
        link.asks(request(number)).answers(answer(number))
    p = link.packets
    del p[4]
    assert lines(Seen().give(p)) == [(b"POST /r1", 211, 0), (b"POST /r3", 213, 0)]


def test_a_long_body_with_a_hole_does_not_wait_for_ever() -> None:
    """Pure acknowledgements are not taken: what waits is bounded by bytes, segments and time."""
    long = request(1, 200 * 1_000)
    link = Link().opens().asks(*(long[i : i + 1_000] for i in range(0, len(long), 1_000)))
    del link.packets[20]
    seen = Seen().give(link.packets)
    assert seen.flows.counters["gaps"] == 1
    few = Seen().give(Link().opens().asks(request(1)[:30]).packets)
    few.give([packet(b"later", seq=2_000, ack=900_001)])
    assert few.flows.counters["gaps"] == 0
    assert few.later(1.5).flows.counters["gaps"] == 1


def test_joining_in_the_middle_waits_for_a_message() -> None:
    """Bytes of a message whose begin was not seen are nobody's."""
    link = Link().opens().asks(request(0)).answers(answer(0)[:30], answer(0)[30:])
    link.asks(request(1)).answers(answer(1))
    assert lines(Seen().give(link.packets[4:])) == [(b"POST /r1", 211, 0)]


def test_a_port_used_again_is_another_connection() -> None:
    """Also when its old end was not seen: what was open is incomplete."""
    first = Link().opens().asks(request(1))
    second = Link(client_seq=77_000, server_seq=5).opens().asks(request(2)).answers(answer(2)).ends()
    third = Link(client_seq=99_000, server_seq=6).opens().asks(request(3)).answers(answer(3)).ends()
    found = lines(Seen().give(first.packets + second.packets + third.packets))
    assert found == [(b"POST /r1", 0, exchange.INCOMPLETE), (b"POST /r2", 212, 0), (b"POST /r3", 213, 0)]


def test_a_syn_sent_again_is_the_same_connection() -> None:
    """As is its answer."""
    p = Link().opens().asks(request(1)).answers(answer(1)).packets
    assert lines(Seen().give([p[0], p[0], p[1], p[1], p[2], p[3]])) == [(b"POST /r1", 211, 0)]


def test_reset_and_end_close_what_is_open() -> None:
    """A reset aborts; an answer without a length is complete with the server's end."""
    reset = Link().opens().asks(request(1)).answers(answer(1)[:45]).resets(from_client=True)
    assert [flags & BAD for _, _, flags in lines(Seen().give(reset.packets), close=False)] == [exchange.ABORTED]
    closed = Link().opens().asks(request(1)).answers(b"HTTP/1.0 200 OK\r\n\r\nabc").ends(server_first=True)
    assert lines(Seen().give(closed.packets), close=False) == [(b"POST /r1", 200, 0)]


def test_what_is_sent_again_after_the_end_is_not_a_new_exchange() -> None:
    """A connection is known for a while after its end."""
    p = Link().opens().asks(request(1)).answers(answer(1)).ends(server_first=True).packets
    seen = Seen().give(p + p[2:])
    assert lines(seen) == [(b"POST /r1", 211, 0)]
    assert seen.flows.counters["late"] > 0


def test_an_end_before_lost_bytes_is_the_end() -> None:
    """FIN with a hole before it: the exchange is incomplete, not aborted and not complete."""
    p = (
        Link()
        .opens()
        .asks(request(1))
        .answers(b"HTTP/1.0 200 OK\r\n\r\n", b"abc", b"def")
        .ends(server_first=True)
        .packets
    )
    del p[4]
    seen = Seen().give(p).later(2)
    assert [(status, flags & BAD) for _, status, flags in lines(seen)] == [(200, exchange.INCOMPLETE)]


def test_packets_that_were_cut_are_holes() -> None:
    """What the ring has not room for is lost, not guessed."""
    p = Link().opens().asks(request(1, 900)).answers(answer(1)).asks(request(2)).answers(answer(2)).packets
    seen = Seen().give(p, held=300)
    assert seen.flows.counters["cut"] == 1
    assert [(line, flags & BAD) for line, _, flags in lines(seen)] == [
        (b"POST /r1", exchange.INCOMPLETE),
        (b"POST /r2", 0),
    ]


def test_the_models_own_calls_are_told_by_the_syn() -> None:
    """Where both ports are watched the SYN says who is the server; without it nothing is guessed."""
    one, other = (CLIENT, PORT + 1), (SERVER, PORT)
    link = Link(client=one, server=other).opens().asks(request(1)).answers(answer(1))
    assert lines(Seen((PORT, PORT + 1)).give(link.packets)) == [(b"POST /r1", 211, 0)]
    seen = Seen((PORT, PORT + 1)).give(link.packets[2:])
    assert lines(seen) == []
    assert seen.flows.counters["unclear_ports"] == 2


def test_ports_may_change() -> None:
    """Connections to the old port are given up, those to the new one are seen."""
    seen = Seen().give(Link().opens().asks(request(1)).packets)
    seen.flows.watch((PORT + 1,), seen.now)
    link = Link(server=(SERVER, PORT + 1)).opens().asks(request(2)).answers(answer(2))
    assert lines(seen.give(link.packets)) == [(b"POST /r1", 0, exchange.INCOMPLETE), (b"POST /r2", 212, 0)]


def test_a_flood_of_connections_is_bounded() -> None:
    """Those that never sent a byte go first."""
    good = Link().opens().asks(request(1))
    seen = Seen().give(good.packets)
    for begin in range(0, limits.MOST_FLOWS + 4_000, 4_000):
        seen.give(
            packet(source=(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 9), flags=SYN) for n in range(begin, begin + 4_000)
        )
    assert len(seen.flows) <= limits.MOST_FLOWS
    before = len(good.packets)
    assert lines(seen.give(good.answers(answer(1)).packets[before:]), close=False) == [(b"POST /r1", 211, 0)]


def test_quiet_connections_are_forgotten() -> None:
    """After ten minutes; one with an open exchange after an hour."""
    seen = Seen().give(Link().opens().asks(request(1)).packets)
    seen.give(Link(client=("10.0.0.3", 5)).opens().packets)
    for _ in range(65):
        seen.later(10.1)
    assert len(seen.flows) == 1
    for _ in range(305):
        seen.later(10.1)
    assert len(seen.flows) == 0
    assert [flags & BAD for _, _, flags in lines(seen)] == [exchange.INCOMPLETE]


def test_many_connections_that_end_are_forgotten() -> None:
    """Only so many, and only for so long, are known after their end."""
    seen = Seen()
    for number in range(limits.MOST_OVER + 10):
        seen.give(Link(client=(CLIENT, 1_000 + number)).opens().resets(from_client=False).packets)
    assert len(seen.flows) == limits.MOST_OVER
    assert len(seen.later(11).flows) == 0


# -- any order, any loss


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    marks = sorted({m % len(data) for m in at} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


PLAN = st.lists(
    st.tuples(st.lists(st.integers(0, 400), max_size=3), st.lists(st.integers(0, 400), max_size=3)),
    min_size=1,
    max_size=6,
)


def play(plan: list[tuple[list[int], list[int]]], *, joined: bool, pipelined: int = 1) -> Link:
    """Exchanges with pieces of any size; ``pipelined``: requests sent before their answers."""
    link = Link()
    if not joined:
        link.opens()
    for first in range(0, len(plan), pipelined):
        numbers = range(first, min(first + pipelined, len(plan)))
        for n in numbers:
            link.asks(*cut(request(n), plan[n][0]))
        for n in numbers:
            link.answers(*cut(answer(n), plan[n][1]))
    return link.ends()


def check(seen: Seen, total: int) -> int:
    """Whatever was said is true; how many exchanges are whole."""
    found = seen.records()
    said = [line for line, _ in found if line]
    assert len(said) == len(set(said)), "an exchange was told twice"
    whole = 0
    for line, record in found:
        if record.flags & exchange.AMBIGUOUS:
            raise AssertionError("lost bytes are not ambiguous")
        number = int(line.removeprefix(b"POST /r"))
        assert number < total
        assert record.status in {0, 210 + number % 80}
        if not record.flags & BAD:
            whole += 1
            assert record.status
            assert (record.request_bytes, record.response_bytes) == (len(request(number)), len(answer(number)))
    return whole


@given(PLAN, st.lists(st.integers(0, 60), max_size=12), st.booleans(), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_repeats_and_late_segments_of_a_direction_change_nothing(
    plan: list[tuple[list[int], list[int]]], swaps: list[int], joined: bool, pipelined: int
) -> None:
    """Nothing is lost: every exchange is told, once and right."""
    # A client that does not wait for answers cannot be followed from the middle of a connection.
    packets = play(plan, joined=joined, pipelined=1 if joined else pipelined).packets
    for at in swaps:
        i = 3 + at
        if i < len(packets) and packets[i][12:24] == packets[i - 1][12:24]:
            packets[i - 1], packets[i] = packets[i], packets[i - 1]
        elif i <= len(packets):
            packets.insert(i, packets[i - 1])
    whole = check(Seen().give(packets), len(plan))
    assert whole == len(plan) or joined  # joining, a request whose first piece is a letter is not known for one


@given(PLAN, st.data(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_loss_repeat_and_order_invents_nothing(
    plan: list[tuple[list[int], list[int]]], data: st.DataObject, joined: bool
) -> None:
    """Packets lost, repeated and shifted in any way: what is told is true of a client that waits for its answers."""
    packets = play(plan, joined=joined).packets
    lost = data.draw(st.sets(st.integers(0, len(packets) - 1), max_size=4))
    shifts = data.draw(st.lists(st.integers(0, 4), min_size=len(packets), max_size=len(packets)))
    order = sorted((i for i in range(len(packets)) if i not in lost), key=lambda i: i + shifts[i])
    repeated = data.draw(st.lists(st.sampled_from(order or [0]), max_size=3))
    seen = Seen().give(packets[i] for i in order)
    seen.give(packets[i] for i in repeated)
    check(seen, len(plan))


@given(st.integers(1, 6), st.data())
@settings(max_examples=60, deadline=None)
def test_a_loss_costs_only_what_it_cuts(total: int, data: st.DataObject) -> None:
    """One packet lost on a connection that waits for answers: all but two exchanges are whole."""
    packets = play([([], [9])] * total, joined=False).packets
    del packets[data.draw(st.integers(2, len(packets) - 1))]
    assert check(Seen().give(packets), total) >= total - 2


@given(st.sets(st.integers(0, 60)), st.booleans())
@example({1, 2, 3, 5, 6}, False)  # where the server is, only what waits of the client knows
@settings(max_examples=200, deadline=None)
def test_long_holes_pair_nothing_wrongly(lost: set[int], joined: bool) -> None:
    """A ring that overflows loses many packets in a row, of both directions."""
    packets = play([([], [])] * 30, joined=joined).packets
    check(Seen().give(p for i, p in enumerate(packets) if i not in lost), 30)
