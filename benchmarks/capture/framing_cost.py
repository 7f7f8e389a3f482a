"""``python -m benchmarks.capture.framing_cost``: CPU of framing and recording one exchange, both directions.

1 KB in one segment each way, 64 connections, frames built and thrown away; best of 7 rounds. Not a bar of its own: the
tap's and the relay's rows contain it. Aim: <= 3.5 us an exchange without copies.
"""

from __future__ import annotations

import sys
import time

from pilotfish_agent.capture.http1 import Conversation
from pilotfish_agent.capture.recorder import Recorder

ASK = (
    b"POST /v1/models/m:predict HTTP/1.1\r\nHost: 127.0.0.1:8501\r\nUser-Agent: wrk\r\nX-Request-Id: %s\r\n"
    b"Content-Type: application/json\r\nContent-Length: 800\r\n\r\n" + b"x" * 800
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 22:51:14 GMT\r\nX-Request-Id: %s\r\n"
    b"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n" + b"y" * 100
)
CONNECTIONS = 64
ROUNDS = 7
EXCHANGES = 20_000
START_NS = 1_700_000_000_000_000_000


def cost(bodies: str, *, heads: int, parts: int = 1) -> float:
    """Microseconds of CPU an exchange.

    Args:
        bodies: see `Recorder`.
        heads: different heads each way; more than the tables hold: each head is read.
        parts: segments of each answer: whole, or head and body apart.
    """
    recorder = Recorder(lambda _: True, bodies=bodies)
    talks = [Conversation(80, recorder) for _ in range(CONNECTIONS)]
    asks = [b"#" * 100 + ASK % b"%036d" % n for n in range(heads)]
    answers = [b"#" * 100 + ANSWER % b"%036d" % n for n in range(heads)]
    rounds = EXCHANGES // CONNECTIONS
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        n = 0
        for turn in range(rounds):
            for talk in talks:
                n += 1
                ask, answer = asks[n % heads], answers[n % heads]
                talk.request(ask, 100, len(ask), START_NS + n)
                if parts == 1:
                    talk.response(answer, 100, len(answer), START_NS + n + 100)
                else:
                    talk.response(answer, 100, len(answer) - 100, START_NS + n + 100)
                    talk.response(answer, len(answer) - 100, len(answer), START_NS + n + 200)
            if turn % 30 == 0:
                recorder.flush(time.monotonic())
        best = min(best, (time.process_time_ns() - began) / (rounds * CONNECTIONS) / 1_000)
    return best


def main() -> int:
    """Prints the table."""
    for words, bodies, heads, parts in (
        ("timings, heads known", "none", 1, 1),
        ("sampled, heads known", "sampled", 1, 1),
        ("timings, each head new", "none", 5_000, 1),
        ("sampled, each head new", "sampled", 5_000, 1),
        ("copies of all", "all", 1, 1),
        ("timings, answers in two segments", "none", 1, 2),
    ):
        print(f"{words:34} {cost(bodies, heads=heads, parts=parts):6.2f} us an exchange", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
