"""The scraper beside real servers, and what a page of metrics costs.

The peer of the cost row is `prometheus_client.parser`, which is also the oracle of the reader's tests.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bars import Result, bar, versions
from benchmarks.capture.real_servers import LLAMA, MLSERVER, Case, Log, asked
from benchmarks.servers import others, starters
from pilotfish_agent.scrape import vllm
from pilotfish_agent.scrape._family import wanted
from pilotfish_agent.scrape._text import read
from tests.agent.live import Live, until

ROUNDS = 5
CALLS = 200


def page(size: int) -> str:
    """A vLLM page of about ``size`` bytes: mostly series that no rule wants."""
    line = 'vllm:request_{}_bucket{{engine="0",le="{}",model_name="Qwen/Qwen3-0.6B"}} {}.0\n'
    lines: list[str] = []
    length = 0
    names = ("queue_time_seconds", "prefill_time_seconds", "decode_time_seconds", "params_n", "prompt_tokens")
    while length < size:
        lines.append(line.format(names[len(lines) % 5], len(lines), len(lines)))
        length += len(lines[-1])
    return "".join(lines)


def cpu(work: Callable[[], object]) -> float:
    """Median CPU seconds of a call."""
    took = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work()
        took.append(time.thread_time() - start)
    return statistics.median(took)


@bar("scrape: CPU of a page of 1 MiB", "<= 50 ms and <= 1/4 of prometheus_client.parser")
def cost() -> Result:
    text = page(2**20)
    names = wanted(vllm.RULES)
    ours = cpu(lambda: read(text, names))
    library = cpu(lambda: [s for family in text_string_to_metric_families(text) for s in family.samples])
    words = f"{ours * 1e3:.0f} ms; the library {library * 1e3:.0f} ms ({library / ours:.0f} times)"
    return Result(words, ours <= 0.05 and ours <= library / 4, versions("prometheus-client"))


def scraped(case: Case, expected: Callable[[Log], dict[str, float]]) -> Result:
    """Asks a server, scrapes it, and compares with the client's log."""
    with case.start() as served, tempfile.TemporaryDirectory(prefix="pf", dir="/tmp") as place:
        folder = pathlib.Path(place)
        (folder / "c.yaml").write_text(
            f"scrape: [{{url: http://127.0.0.1:{served.metrics}/metrics, interval: 1s}}]\ncapture: {{mode: 'off'}}\n"
        )
        live = Live(folder)
        live.attach("--pid", str(served.pid), "--config", str(folder / "c.yaml"))
        try:
            log = asked(case.command(f"127.0.0.1:{served.port}", CALLS, 0))
            wanted_now = expected(log)

            def got() -> dict[str, float | None]:
                return {series: live.metric(series.replace("{", r"\{")) for series in wanted_now}

            try:
                until(lambda: got() == wanted_now, "the scraper to see it")
            except AssertionError:
                pass
            found = got()
        finally:
            live.stop()
    wrong = {k.rpartition("{")[0] or k: (found[k], wanted_now[k]) for k in wanted_now if found[k] != wanted_now[k]}
    return Result(
        f"{len(wanted_now) - len(wrong)} of {len(wanted_now)} series" + (f": {wrong}" if wrong else ""), not wrong
    )


@bar("scrape: llama.cpp's own metrics after 200 calls", "tokens as the client saw them")
def llama() -> Result:
    def expected(log: Log) -> dict[str, float]:
        return {
            "pilotfish_server_input_tokens_total": log["input tokens"],
            "pilotfish_server_output_tokens_total": log["output tokens"],
            "pilotfish_server_requests_running": 0.0,
        }

    return scraped(LLAMA, expected)


@bar("scrape: MLServer's own metrics after 200 calls", "requests as the client saw them", slow=True)
def mlserver() -> Result:
    def expected(log: Log) -> dict[str, float]:
        return {
            'pilotfish_server_requests_total{.*outcome="success"': log["code 200"],
            "pilotfish_server_request_duration_seconds_count": log["code 200"],
        }

    return scraped(MLSERVER, expected)


def posted(path: str, good: object, bad: object | None) -> Callable[[str, int, float], list[str]]:
    """A client that posts 40 good requests and 3 bad ones, for servers that have no client here."""
    script = (
        "import json, sys, urllib.error, urllib.request\n"
        "log = {'good': 0, 'bad': 0}\n"
        "for body in [sys.argv[2]] * 40 + [sys.argv[3]] * (3 if sys.argv[3] else 0):\n"
        "    request = urllib.request.Request(sys.argv[1], body.encode(), {'Content-Type': 'application/json'})\n"
        "    try:\n"
        "        urllib.request.urlopen(request, timeout=30).read(); log['good'] += 1\n"
        "    except urllib.error.HTTPError:\n"
        "        log['bad'] += 1\n"
        "print(json.dumps(log))\n"
    )

    def command(address: str, count: int, rate: float) -> list[str]:  # noqa: ARG001 - as every client
        texts = [json.dumps(good), "" if bad is None else json.dumps(bad)]
        return [sys.executable, "-I", "-c", script, f"http://{address}{path}", *texts]

    return command


def by_outcome(log: Log) -> dict[str, float]:
    """What the client saw, under our names."""
    name = 'pilotfish_server_requests_total{.*outcome="'
    found = {name + 'success"': log["good"]}
    return found | ({name + 'error"': log["bad"]} if log["bad"] else {})


def _simple(start: starters.Starter, path: str, good: object, bad: object | None) -> Case:
    return Case(start, posted(path, good, bad), lambda _: Counter())


@bar("scrape: BentoML's own metrics", "requests as the client saw them", slow=True)
def bentoml() -> Result:
    return scraped(_simple(others.bentoml, "/predict", {"rows": [1.0]}, {"rows": "x"}), by_outcome)


@bar("scrape: KServe's own metrics", "requests as the client saw them", slow=True)
def kserve() -> Result:
    case = _simple(others.kserve, "/v1/models/squares:predict", {"instances": [2]}, None)
    return scraped(case, lambda log: {"pilotfish_server_request_duration_seconds_count": log["good"]})


@bar("scrape: Ray Serve's own metrics", "requests as the client saw them", slow=True)
def ray_serve() -> Result:
    return scraped(_simple(others.ray, "/squares", {"instances": [2]}, {"nothing": 1}), by_outcome)


@bar("scrape: Triton's own metrics", "requests as the client saw them", slow=True)
def triton() -> Result:
    body = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [3.0]}]}

    def expected(log: Log) -> dict[str, float]:
        count = "pilotfish_server_queue_duration_seconds_count"
        return {**by_outcome(log), count: log["good"], "pilotfish_server_requests_waiting": 0.0}

    return scraped(_simple(others.triton, "/v2/models/adder/infer", body, None), expected)
