"""A client with a log of its own: `post_client.py KIND HOST:PORT COUNT RATE CONNECTIONS`, standard library only.

It posts COUNT requests over keep-alive connections at RATE a second in all (0: as fast as it goes), one in fifty of
them bad, and prints as JSON what it saw: requests by operation and code, predictions, models, versions, seconds.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from typing import Any

BAD_EVERY = 50
Request = tuple[str, str, bytes, bool]


def ages(rng: random.Random) -> list[float]:
    """Rows of a request."""
    return [round(rng.uniform(0, 90), 1) for _ in range(rng.randint(1, 3))]


def request(kind: str, rng: random.Random, bad: bool) -> tuple[str, bytes]:
    """(path, body)."""
    rows = ages(rng)
    if kind == "tensorflow_serving":
        instances: list[Any] = [{"age": a} for a in rows]
        return "/v1/models/ages/versions/3:predict", json.dumps({"instances": ["x"] if bad else instances}).encode()
    if kind == "open_inference":
        shape, data = [len(rows), 2], [v for a in rows for v in (a, 1.0)]
        body = {"inputs": [{"name": "x", "shape": shape, "datatype": "FP64", "data": data}]}
        return f"/v2/models/{'nobody' if bad else 'square'}/infer", json.dumps(body).encode()
    frame = {"columns": ["age"], "data": [[a] for a in rows]}
    return "/invocations", json.dumps({"nothing": 1} if bad else {"dataframe_split": frame}).encode()


def read(kind: str, answer: Any, log: Counter[str]) -> None:
    """What a good answer says, into the log."""
    if kind == "open_inference":
        log[f"model {answer['model_name']} {answer['model_version']}"] += 1
        values = answer["outputs"][0]["data"]
    else:
        values = answer["predictions"]
    for value in values:
        if isinstance(value, str):
            log[f"class {value}"] += 1
        else:
            log["value count"] += 1
            log["value sum"] += value


def work(kind: str, address: str, turns: list[int], rate: float, connections: int, log: Counter[str]) -> None:
    """One connection: its share of the requests, on its own schedule."""
    host, _, port = address.rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=30)
    rng = random.Random(turns[0])
    start = time.perf_counter()
    for done, turn in enumerate(turns):
        due = start + done * connections / rate if rate else 0.0
        time.sleep(max(due - time.perf_counter(), 0.0))
        path, body = request(kind, rng, turn % BAD_EVERY == BAD_EVERY - 1)
        try:
            client.request("POST", path, body, {"Content-Type": "application/json"})
            response = client.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            log[f"failed {type(error).__name__}"] += 1
            client.close()
            continue
        log[f"code {response.status}"] += 1
        if response.status == 200:
            read(kind, json.loads(data), log)


def main() -> None:
    """All connections, then the log."""
    kind, address, count, rate, connections = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    sys.setswitchinterval(0.0005)  # the threads must keep their schedules
    logs: list[Counter[str]] = [Counter() for _ in range(connections)]
    threads = [
        threading.Thread(target=work, args=(kind, address, list(range(i, count, connections)), rate, connections, log))
        for i, log in enumerate(logs)
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total: Counter[str] = Counter()
    for log in logs:
        total.update(log)
    print(json.dumps({**total, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
