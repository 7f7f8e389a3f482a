"""The scraper beside real servers, and what a page of metrics costs.

The peer of the cost row is `prometheus_client.parser`, which is also the oracle of the reader's tests.
"""

from __future__ import annotations

import pathlib
import re
import statistics
import tempfile
import time
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bars import Result, bar, versions
from benchmarks.capture.real_servers import LLAMA, MLSERVER, Case, Log, asked
from benchmarks.servers.starters import Served
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


def scraped(case: Case, expected: Callable[[Log], dict[str, float]], port: Callable[[Served], int]) -> Result:
    """Asks a server, scrapes it, and compares with the client's log."""
    with case.start() as served, tempfile.TemporaryDirectory(prefix="pf", dir="/tmp") as place:
        folder = pathlib.Path(place)
        (folder / "c.yaml").write_text(
            f"scrape: [{{url: http://127.0.0.1:{port(served)}/metrics, interval: 1s}}]\ncapture: {{mode: 'off'}}\n"
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

    return scraped(LLAMA, expected, lambda served: served.port)


@bar("scrape: MLServer's own metrics after 200 calls", "requests as the client saw them", slow=True)
def mlserver() -> Result:
    def expected(log: Log) -> dict[str, float]:
        return {
            'pilotfish_server_requests_total{.*outcome="success"': log["code 200"],
            "pilotfish_server_request_duration_seconds_count": log["code 200"],
        }

    return scraped(MLSERVER, expected, _metrics_port)


def _metrics_port(served: Served) -> int:
    """Of the line in which MLServer says where its metrics are."""
    found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", served.log.read_text(encoding="utf-8"))
    assert found is not None, "MLServer did not say where its metrics are"
    return int(found[1])
