"""The metrics of one check: for node_exporter's textfile collector and for a Pushgateway.

They have the names that a live agent gives the same things, so that dashboards and rules serve both. The time of the
last live run is not among them: its rule expects a run every few minutes.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote

from pilotfish_agent import http_client
from pilotfish_agent.drift import gauges
from pilotfish_agent.drift.check import Checked
from pilotfish_agent.drift.report import SEVERITIES, STATES
from pilotfish_agent.drift.tests._part import TestResult
from pilotfish_core.errors import UnavailableError, UsageError
from pilotfish_core.metrics import Metric, Sample
from pilotfish_exporters._text import text

CHECKED: Final = Metric(
    "pilotfish_check_timestamp_seconds",
    "gauge",
    "When `pilotfish check` last finished; older than its schedule means that it no longer runs.",
    ("model", "model_version"),
)
METRICS: Final = (CHECKED,)
Results = Mapping[str, Iterable[TestResult]]


def samples(found: Checked, results: Results, critical_effect: float, now: float) -> Iterator[Sample]:
    """Of one check.

    Args:
        found: the answer.
        results: distances by feature; those with a number and no p-value are shown.
        critical_effect: `drift.critical_effect`: an effect that is surely above it is critical.
        now: epoch seconds.
    """
    reference = found.reference
    make = gauges.Labels(reference.model or "", reference.version)
    features = found.features()
    drifting = [one for one in features.values() if one.verdict == "drifting"]
    critical = any(one.effect is not None and one.effect.lower >= critical_effect for one in drifting)
    yield from make.one_of(gauges.STATE, STATES, found.verdict)
    severity = "critical" if critical else "warning" if drifting else "none"
    yield from make.one_of(gauges.SEVERITY, SEVERITIES, severity)
    yield make(gauges.DRIFTING, float(len(drifting)))
    yield make(gauges.REFERENCE_ROWS, float(reference.rows))
    yield make(gauges.REFERENCE_INFO, 1.0, reference.id)
    yield make(gauges.WINDOW_ROWS, float(found.rows))
    yield make(CHECKED, now)
    for name, one in features.items():
        if one.verdict == "not_enough_data" or one.effect is None:
            continue
        yield make(gauges.EFFECT, one.effect.value, name)
        for result in results[name]:
            if result.statistic is not None and result.pvalue is None and not result.reason:
                yield make(gauges.DISTANCE, result.statistic, result.test, name)


def as_text(found: Iterable[Sample]) -> str:
    """In the exposition format."""
    return text(found).decode("utf-8")


def check_address(address: str) -> None:
    """Before anything is read: could a gateway be there at all?

    Raises:
        UsageError: no http or https URL with a host.
    """
    try:
        http_client.url(address)
    except ValueError:
        words = "an URL such as http://127.0.0.1:9091, without a name or password in it"
        raise UsageError("--pushgateway", got=address, expected=words) from None


def push(address: str, model: str, body: str) -> None:
    """Puts the metrics in place of those of the last check of this model.

    Raises:
        UnavailableError: the gateway does not answer, or does not take them.
    """
    asyncio.run(_put(group(address, model), body))


def group(address: str, model: str) -> str:
    """Where they are put: the address as it is where it names a job already."""
    if "/metrics/job" in address:
        return address
    found = f"{address.rstrip('/')}/metrics/job/pilotfish_check"
    if not model:
        return found
    if quote(model, safe="") == model:
        return f"{found}/model/{model}"
    return f"{found}/model@base64/{base64.urlsafe_b64encode(model.encode()).decode()}"


async def _put(address: str, body: str) -> None:
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    async with http_client.session() as client:
        try:
            answer = await http_client.ask(client, address, method="PUT", body=body.encode(), headers=headers)
        except http_client.Failed as error:
            raise UnavailableError(f"--pushgateway {address}: {error}", todo="is it running there?") from None
    if answer.status >= 300:
        said = answer.body[:200].decode("utf-8", "replace").strip()
        raise UnavailableError(f"--pushgateway {address}: status {answer.status}: {said}", expected="status 200 or 202")
