"""Traffic for the real models: rates that rise and fall, so that a panel that stands still is a panel that is wrong."""

from __future__ import annotations

import http.client
import json
import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from examples.digits.traffic import SHIFTS, Draws

PERIOD_S: Final = 17.0  # of the rise and fall; no multiple of a scrape interval or a tick
SWING: Final = 0.6
ROWS: Final = 10
SHIFT: Final = "noise"
HEADERS: Final = {"Content-Type": "application/json"}
TOO_DEEP: Final = b"[" * 50_000
"""A body that Python's JSON reader cannot end: the application fails, and its server answers 500."""

Call = Callable[[http.client.HTTPConnection, random.Random], None]


class Load(threading.Thread):
    """Calls one server over one kept connection until it is stopped; failed calls go on with a new one.

    Args:
        port: of the server, on loopback.
        rate: calls a second, in the mean.
        call: makes one.
        seed: of what is random.
    """

    def __init__(self, port: int, rate: float, call: Call, seed: int) -> None:
        super().__init__(name=f"load-{port}-{seed}", daemon=True)
        self._port = port
        self._rate = rate
        self._call = call
        self._rng = random.Random(seed)
        self._ended = threading.Event()
        self.calls = 0
        self.failures = 0

    def run(self) -> None:
        """Calls, and waits as long as the rate of the moment says."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while True:
            swing = 1 + SWING * math.sin(2 * math.pi * time.monotonic() / PERIOD_S)
            if self._ended.wait(self._rng.expovariate(self._rate * swing)):
                break
            try:
                self._call(connection, self._rng)
                self.calls += 1
            except (OSError, http.client.HTTPException, ValueError):
                self.failures += 1
                connection.close()
        connection.close()

    def end(self) -> None:
        """Stops, after the call under way."""
        self._ended.set()
        self.join(10)


def posted(connection: http.client.HTTPConnection, path: str, body: bytes | str) -> bytes:
    """The body of an answer, whatever its status."""
    connection.request("POST", path, body, HEADERS)
    return connection.getresponse().read()


class Digits:
    """Images for the digits model; noise on them once `shifted` is set, a wrong request now and then."""

    def __init__(self, seed: int) -> None:
        self._draws = Draws(seed)
        self.shifted = threading.Event()

    def __call__(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        """One request."""
        if rng.random() < 0.05:
            posted(connection, "/v1/models/digits:predict", json.dumps({"instances": ["no image"]}))
            return
        images = (SHIFTS[SHIFT] if self.shifted.is_set() else Draws.clean)(self._draws, ROWS)
        posted(connection, "/v1/models/digits:predict", json.dumps({"instances": images.tolist()}))


class Ages:
    """Rows for the model of ages: `version` says which is asked, `oldest` how old people are."""

    def __init__(self) -> None:
        self.version = "3"

    def __call__(self, connection: http.client.HTTPConnection, rng: random.Random) -> None:
        """One request; some are wrong, each in its way."""
        path, kind = f"/v1/models/ages/versions/{self.version}:predict", rng.random()
        if kind < 0.08:
            self._wrong(connection, path, kind)
            return
        rows = [{"age": round(rng.uniform(0, 90), 1)} for _ in range(rng.randint(1, 3))]
        posted(connection, path, json.dumps({"instances": rows}))

    def _wrong(self, connection: http.client.HTTPConnection, path: str, kind: float) -> None:
        if kind < 0.04:
            posted(connection, path, TOO_DEEP if kind < 0.02 else b'{"instances": ["x"]}')
        elif kind < 0.06:  # compressed by what nobody knows
            connection.request("POST", path, b'{"instances": []}', HEADERS | {"Content-Encoding": "rot13"})
            connection.getresponse().read()
        else:  # where it ends can be read in two ways
            connection.putrequest("POST", path)
            connection.putheader("Content-Length", "4")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(b"0\r\n\r\n")
            connection.getresponse().read()
            connection.close()


def talk(connection: http.client.HTTPConnection, rng: random.Random) -> None:
    """One call of a language model: most are streamed, some ask for what the server does not have."""
    if rng.random() < 0.05:
        posted(connection, "/v1/embeddings", json.dumps({"model": "tiny", "input": "a"}))
        return
    said: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hello " * rng.randint(1, 30)}],
        "max_tokens": rng.randint(4, 40),
    }
    if rng.random() < 0.8:
        said |= {"stream": True, "stream_options": {"include_usage": True}}
    posted(connection, "/v1/chat/completions", json.dumps(said))
    if "stream" in said:
        connection.close()  # llama.cpp closes after a stream and does not say so
