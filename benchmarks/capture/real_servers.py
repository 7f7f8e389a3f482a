"""Real servers asked by real clients, seen by tap and relay: what Pilotfish counted is what the client's log says.

The environments of the servers are built when needed (benchmarks/servers). Bodies are all kept here: that every
prediction and token is counted can only be asked where none is sampled away.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bars import Result, bar, versions
from benchmarks.servers import environments, starters
from benchmarks.servers.app import classify
from benchmarks.servers.starters import Served
from tests.agent.live import Live, until

COUNT = 10_000
MODES = ("tap", "relay")
CONNECTIONS = 8
Log = Mapping[str, float]
Counts = Counter[tuple[str, ...]]
EXACT = "0 lost, all as the client saw them"


@dataclass(frozen=True, slots=True)
class Case:
    """One server and its client.

    Attributes:
        start: starts it.
        command: the client's command for (address, count, rate).
        expected: from its log to counts under the names of our metrics.
        reference: rows with the prediction's classes or values, None without; model: whose they are.
    """

    start: starters.Starter
    command: Callable[[str, int, float], list[str]]
    expected: Callable[[Log], Counts]
    reference: Callable[[], list[dict[str, object]]] | None = None
    model: str = "named"


def posting(kind: str) -> Callable[[str, int, float], list[str]]:
    """The command of the client for prediction servers."""
    script = str(environments.HERE / "post_client.py")

    def command(address: str, count: int, rate: float) -> list[str]:
        return [sys.executable, "-I", script, kind, address, str(count), str(int(rate)), str(CONNECTIONS)]

    return command


def talking(address: str, count: int, rate: float) -> list[str]:
    """The command of the openai client."""
    return [environments.python("llama"), str(environments.HERE / "openai_client.py"), address, str(count), str(rate)]


# -- what the client's log makes us expect


def predicted(kind: str, operation: str) -> Callable[[Log], Counts]:
    """Of the client for prediction servers."""

    def expected(log: Log) -> Counts:
        found: Counts = Counter()
        for key, n in log.items():
            word, _, rest = key.partition(" ")
            if word == "code":
                found["request", kind, operation, rest] += int(n)
            elif word == "class":
                found["class", rest] += int(n)
            elif word == "value":
                found["values", rest] += round(n)
            elif word == "model":
                name, _, version = rest.partition(" ")
                found["model", name, version] += int(n)
        if kind == "tensorflow_serving":  # its answers name no model: the path does
            found["model", "ages", "3"] = int(log["code 200"])
        if kind == "mlflow":  # nobody names it: it is the one of --model
            found["model", "named", ""] = int(log["code 200"])
        return found

    return expected


def generated(log: Log) -> Counts:
    """Of the openai client."""
    found: Counts = Counter()
    for key, n in log.items():
        words = key.split()
        if words[0] == "call":
            found["request", "openai", words[1], words[2]] += int(n)
        elif words[0] == "finish":
            found["finish", words[1]] += int(n)
        elif words[0] == "model":
            found["model", words[1], ""] += int(n)
        elif words[-1] == "tokens":
            found["tokens", words[0]] += int(n)
    return found


# -- what we saw


def seen(text: str) -> Counts:
    """The same counts from our own /metrics; all at 0 left out."""
    found: Counts = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            n, name, labels = int(sample.value), sample.name.removeprefix("pilotfish_"), sample.labels
            if name == "requests_total":
                found["request", labels["protocol"], labels["operation"], labels["code"]] += n
                if labels["code"] == "200":
                    found["model", labels["model"], labels.get("model_version", "")] += n
            elif name == "predictions_total" and "class" in labels:
                found["class", labels["class"]] += n
            elif name in {"prediction_value_count", "prediction_value_sum"}:
                found["values", name.rpartition("_")[2]] += round(sample.value)
            elif name == "generations_total":
                found["finish", labels["finish_reason"]] += n
            elif name in {"input_tokens_total", "output_tokens_total"} and labels.get("estimated") != "true":
                found["tokens", name.partition("_")[0]] += n
    return +found


def different(expected: Counts, got: Counts) -> list[str]:
    """Where the two differ, in words."""
    return [
        f"{' '.join(key).strip()}: {got[key]} of {expected[key]}"
        for key in sorted(expected.keys() | got.keys())
        if got[key] != expected[key] and _told(key, expected)
    ]


def _told(key: tuple[str, ...], expected: Counts) -> bool:
    """Whether the client's log tells of it: of values where there are classes it does not."""
    return any(k[0] == key[0] for k in expected)


# -- one run


def classes() -> list[dict[str, object]]:
    """A reference that lists the application's classes."""
    return [{"features": {"age": a / 10}, "prediction": classify({"age": a / 10})} for a in range(900)]


def values() -> list[dict[str, object]]:
    """A reference of the values that the squaring models give."""
    return [{"prediction": (a / 10) ** 2} for a in range(900)]


@contextmanager
def watched(case: Case, served: Served, mode: str) -> Iterator[tuple[Live, str]]:
    """An agent beside a server, seeing its traffic; (the agent, where clients go)."""
    with tempfile.TemporaryDirectory(prefix="pf", dir="/tmp") as place:
        folder = pathlib.Path(place)
        port = served.port if mode == "tap" else starters.free_port()
        config = folder / "c.yaml"
        config.write_text(
            f"capture: {{bodies: all, budget: 64MiB, ports: [{served.port}], "
            f"relay_upstream: '127.0.0.1:{served.port}'}}\n"
        )
        options = ["--pid", str(served.pid), "--capture", mode, "--config", str(config), "--model", case.model]
        options += ["--relay-listen", f"127.0.0.1:{port}"] if mode == "relay" else []
        if case.reference is not None:
            rows = folder / "rows.jsonl"
            rows.write_text("".join(json.dumps(row) + "\n" for row in case.reference()), encoding="ascii")
            options += ["--reference", str(rows)]
        live = Live(folder)
        live.attach(*options)
        try:
            until(lambda: live.metric(f'pilotfish_capture_mode{{mode="{mode}"}}') == 1.0, f"{mode}; {live.err}")
            until(lambda: "capture_started" in live.log, "capture to start")
            yield live, f"127.0.0.1:{port}"
        finally:
            live.stop()


def asked(command: Sequence[str]) -> Log:
    """The log of a client."""
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
    return {str(k): float(v) for k, v in json.loads(done.stdout).items()}


def settled(live: Live) -> Counts:
    """What was seen, once it does not change any more."""
    last, got, still = None, seen(live.get("/metrics")), 0
    for _ in range(40):
        if got == last:
            still += 1
            if still >= 4:
                break
        else:
            still = 0
        time.sleep(0.5)
        last, got = got, seen(live.get("/metrics"))
    return got


def measure(case: Case, count: int = COUNT) -> Result:
    """Both modes, each at half of what the client gets at most."""
    words, holds = [], True
    with case.start() as served:
        warm = min(count, 2_000) // 2
        log = asked(case.command(f"127.0.0.1:{served.port}", warm, 0))
        most = warm / log["seconds"]
        for mode in MODES:
            with watched(case, served, mode) as (live, address):
                log = asked(case.command(address, count, most / 2))
                expected, got = case.expected(log), settled(live)
            failed = sum(int(n) for key, n in log.items() if key.startswith("failed"))
            requests = sum(n for key, n in expected.items() if key[0] == "request")
            wrong = different(expected, got)
            holds = holds and not wrong and not failed and requests == count
            words.append(f"{mode} at {count / log['seconds']:.0f}/s: " + _words(requests, expected, failed, wrong))
    return Result("; ".join(words) + f" (most: {most:.0f}/s)", holds, versions("uvicorn", "uvloop"))


def _words(requests: int, expected: Counts, failed: int, wrong: Sequence[str]) -> str:
    kinds = Counter[str]()
    for key, n in expected.items():
        kinds[key[0]] += 0 if key[-1] == "sum" else n
    told = [f"{kinds[k]} {w}" for k, w in _KINDS.items() if kinds[k]]
    lost = f", client failures {failed}" if failed else ""
    return f"{requests} requests, {', '.join(told)}, {len(wrong)} counts differ{lost}" + (
        f" ({', '.join(wrong[:6])})" if wrong else ""
    )


_KINDS = {"class": "predictions", "values": "values with their sum", "tokens": "tokens", "finish": "generations"}

LLAMA = Case(starters.llama, talking, generated)
AGES = predicted("tensorflow_serving", "predict")
UVICORN = Case(starters.uvicorn, posting("tensorflow_serving"), AGES, classes, "ages")
NGINX = Case(starters.nginx, posting("tensorflow_serving"), AGES, classes, "ages")
MLSERVER = Case(starters.mlserver, posting("open_inference"), predicted("open_inference", "infer"), values, "square")
MLFLOW = Case(starters.mlflow, posting("mlflow"), predicted("mlflow", "predict"), values)


@bar("servers: llama.cpp by the openai client, streamed and not, 1,500 calls", EXACT)
def llama_fast() -> Result:
    return measure(LLAMA, 1_500)


@bar("servers: a uvicorn app with 2 workers, 10,000 requests", EXACT)
def uvicorn() -> Result:
    return measure(UVICORN)


@bar("servers: llama.cpp by the openai client, streamed and not, 10,000 calls", EXACT, slow=True)
def llama_slow() -> Result:
    return measure(LLAMA)


@bar("servers: MLServer, Open Inference by REST, 10,000 requests", EXACT, slow=True)
def mlserver() -> Result:
    return measure(MLSERVER)


@bar("servers: MLflow, /invocations, 10,000 requests", EXACT, slow=True)
def mlflow() -> Result:
    return measure(MLFLOW)


@bar("servers: nginx in front of a model, 10,000 requests", EXACT, slow=True)
def nginx() -> Result:
    return measure(NGINX)
