"""The first page: is my model well, what changed, since when, why, and the budget. One HTML, no requests out."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from html import escape

from pilotfish_agent.web.assets import ICON, SCRIPT, STYLE
from pilotfish_agent.web.vitals import vitals
from pilotfish_core.nouns import DriftResult, ModelStatus, Snapshot, Status

__all__ = ["ICON", "html", "policy"]

_SHOWN = 40  # streams in the table; the API has all
_STATES = {
    "learning": "is learning what is normal",
    "provisional": "runs on a provisional reference",
    "not_enough_data": "has too few rows to judge",
}
_SEVERITIES = ("none", "info", "warning", "critical")


@cache
def policy() -> str:
    """The page's Content-Security-Policy: its own style and script by hash, its own origin, nothing else."""
    style, script = (
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in (STYLE, SCRIPT)
    )
    return (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def html(snapshot: Snapshot | None, waiting: Sequence[str] = ()) -> bytes:
    """The whole page.

    Args:
        snapshot: what to show; None before the first sample.
        waiting: why the agent is not ready, shown as they are.
    """
    title, tone, lead = headline(snapshot)
    name = _name(snapshot.status) if snapshot is not None else "starting"
    parts = [_verdict(title, tone, lead, waiting)]
    if snapshot is not None:
        parts += [
            _changes(snapshot), _vitals(snapshot), _models(snapshot), _streams(snapshot), _gaps(snapshot),
        ]  # fmt: skip
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)} · {escape(name)}</title>"
        '<link rel="icon" href="/favicon.ico" type="image/svg+xml">'
        f'<style>{STYLE}</style><noscript><meta http-equiv="refresh" content="10"></noscript></head><body>'
        f"{_header(snapshot, name)}<main>{''.join(parts)}</main>{_footer(snapshot)}"
        f"<script>{SCRIPT}</script></body></html>"
    )
    return text.encode(errors="replace")


def _name(status: Status) -> str:
    """Of the watched process; of the agent where it watches several."""
    return status.instance if len(status.targets) > 1 else str(status.target.get("name") or status.instance)


def headline(snapshot: Snapshot | None) -> tuple[str, str, str]:
    """(one line, tone, one sentence): the answer to "is my model well?". The tone is a style class."""
    if snapshot is None:
        return "Starting", "", "The first sample has not been taken yet."
    status = snapshot.status
    trees = status.targets or (status.target,)
    down = [str(t.get("name")) for t in trees if t.get("up") is False]
    if down and len(trees) > 1:
        lead = f"{len(down)} of {len(trees)} watched processes are not there; the last state is below."
        return f"Not running: {', '.join(down)}", "critical", lead
    if down:
        return "The model is not running", "critical", "No process of the target is alive; the last state is below."
    worst = max(status.models, key=lambda m: _SEVERITIES.index(m.severity), default=None)
    if worst is None:
        lead = "No prediction has arrived yet: instrument the model with pilotfish.Monitor, or send it traffic."
        if any(s.metric.name == "pilotfish_requests_total" for s in snapshot.samples):
            lead = "Requests are seen and counted; in none of them was a prediction that can be read."
        return "Running, no predictions yet", "", lead
    drifting = [n for m in status.models for n in m.drifting]
    names = ", ".join(drifting[:3]) + (f" and {len(drifting) - 3} more" if len(drifting) > 3 else "")
    if worst.severity in {"warning", "critical"}:
        return f"{worst.model} is drifting", worst.severity, f"Changed: {names or 'the model as a whole'}."
    if worst.severity == "info":
        return f"{worst.model}: something changed", "info", f"{names or 'The model as a whole'}: {worst.words}"
    if worst.state == "stable":
        return "The model is well", "good", "It runs, and nothing it sees or says has drifted."
    title = _STATES.get(worst.state, worst.state.replace("_", " "))
    return f"{worst.model} {title}", "info", worst.words.removeprefix(f"{worst.state}: ")


def _header(snapshot: Snapshot | None, name: str) -> str:
    at = f'<span class="at">as of {_moment(snapshot.at, snapshot.at)}</span>' if snapshot else ""
    return f"<header>{ICON}<b>Pilotfish</b><span>{escape(name)}</span>{at}</header>"


def _verdict(title: str, tone: str, lead: str, waiting: Sequence[str]) -> str:
    not_ready = "".join(f'<p class="soft">Not ready: {escape(reason)}.</p>' for reason in waiting)
    return (
        f'<section class="verdict {tone}"><h1>{escape(title)}</h1><p>{escape(lead)}</p>{not_ready}'
        '<p id="lost"></p></section>'
    )


def _changes(snapshot: Snapshot) -> str:
    """What changed, since when, why."""
    changed = [r for r in ranked(snapshot.drift) if r.verdict in {"drifting", "changed"}]
    items = "".join(_change(r, snapshot.at) for r in changed[:_SHOWN])
    if len(changed) > _SHOWN:
        items += f'<li class="soft">and {len(changed) - _SHOWN} more in <a href="/api/v1/drift">the API</a></li>'
    none = '<p class="soft">No stream has changed by evidence worth a notice.</p>'
    budget = snapshot.status.budget
    promise = "".join(
        f'<p class="soft">{text} <b>{escape(str(budget[key]))}</b></p>'
        for key, text in (("false_alarms", "Budget of false alarms:"), ("implied_total", "Over all models here:"))
        if budget.get(key)
    )
    return f"<section><h2>What changed</h2>{f'<ul>{items}</ul>' if items else none}{promise}</section>"


def _change(result: DriftResult, now: float) -> str:
    word = "changed" if result.verdict == "changed" else "drifting"
    since = f" since {_moment(result.began, now)}" if result.began is not None else ""
    rows = f", {result.since_rows:,} rows" if result.since_rows is not None else ""
    why = f"<p>{escape(result.explanation)}</p>" if result.explanation else ""
    return (
        f'<li><span class="tag {result.severity}">{escape(result.severity)}</span> <b>{escape(result.feature)}</b> '
        f'<span class="soft">of {escape(result.model)} {word}{since}{rows}; effect {effect(result)}</span>{why}</li>'
    )


def _vitals(snapshot: Snapshot) -> str:
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in vitals(snapshot))
    return f"<section><h2>Vital signs</h2><dl>{tiles}</dl></section>" if tiles else ""


def _models(snapshot: Snapshot) -> str:
    rows = "".join(_model(m) for m in snapshot.status.models)
    notices = "".join(f"<p>{escape(n)}</p>" for n in snapshot.status.notices)
    if not rows and not notices:
        return ""
    head = "<tr><th>Model<th>State<th>Reference<th class=num>Rows in window</tr>"
    table = f'<div class="wide"><table>{head}{rows}</table></div>' if rows else ""
    return f"<section><h2>Models</h2>{table}{notices}</section>"


def _model(model: ModelStatus) -> str:
    version = f" <span class=soft>{escape(model.model_version)}</span>" if model.model_version else ""
    reference = f"<code>{escape(model.reference_id)}</code>, " if model.reference_id else ""
    words = f"<br><span class=soft>{escape(model.words)}</span>" if model.words else ""
    return (
        f"<tr><td>{escape(model.model)}{version}<td>{escape(model.state.replace('_', ' '))}{words}"
        f"<td>{reference}{model.reference_rows:,} rows<td class=num>{model.window_rows:,}</tr>"
    )


def _streams(snapshot: Snapshot) -> str:
    """Evidence of every stream against its threshold, the strongest first."""
    results = ranked(snapshot.drift)
    if not results:
        return ""
    rows = "".join(
        f"<tr><td>{escape(r.feature)}<td>{escape(r.verdict.replace('_', ' '))}"
        f'<td><meter min="0" max="1" high="0.999" optimum="0" value="{min(ratio(r), 1.0):.3f}"></meter>'
        f"<td class=num>{ratio(r):.2f}<td class=num>{effect(r)}</tr>"
        for r in results[:_SHOWN]
    )
    head = "<tr><th>Stream<th>Verdict<th>Evidence<th class=num>of threshold<th class=num>Effect</tr>"
    more = f'<p class="soft">{len(results) - _SHOWN} more in the API.</p>' if len(results) > _SHOWN else ""
    count = f"{len(results)} streams"
    return (
        f'<section><details id="streams"><summary>{count}, by evidence</summary>'
        f'<div class="wide"><table>{head}{rows}</table></div>{more}</details></section>'
    )


def _gaps(snapshot: Snapshot) -> str:
    """What cannot be read here, and why: absent is not zero."""
    if not snapshot.unavailable:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(u.signal)}</code><td>{escape(u.reason.replace('_', ' '))}<td>{escape(u.collector)}</tr>"
        for u in snapshot.unavailable[:200]
    )
    head = "<tr><th>Signal<th>Why<th>Collector</tr>"
    return (
        f'<section><details id="gaps"><summary>{len(snapshot.unavailable)} signals cannot be read here</summary>'
        f'<div class="wide"><table>{head}{rows}</table></div></details></section>'
    )


def _footer(snapshot: Snapshot | None) -> str:
    links = (
        '<a href="/metrics">Metrics</a><a href="/api/v1/status">Status</a>'
        '<a href="/api/v1/drift">Drift</a><a href="/-/ready">Ready</a>'
    )
    if snapshot is None:
        return f"<footer>{links}</footer>"
    status = snapshot.status
    pids = ", ".join(f"{escape(str(n))} {p}" for n, p in status.processes.items() if p is not None)
    return f"<footer>{links}<p>Pilotfish {escape(status.version)}, {escape(status.instance)}: {pids}</p></footer>"


def ranked(results: Iterable[DriftResult]) -> list[DriftResult]:
    """Worst severity first, then the strongest evidence."""
    return sorted(results, key=lambda r: (-_SEVERITIES.index(r.severity), -ratio(r), r.model, r.feature))


def ratio(result: DriftResult) -> float:
    """Evidence over threshold: 1 and more alarms."""
    value = result.evidence / result.threshold if result.threshold > 0 else 0.0
    return max(value, 0.0) if math.isfinite(value) else 0.0


def effect(result: DriftResult) -> str:
    """``0.31 (0.27 to 0.35)``, or ``not measured``."""
    if result.effect is None:
        return "not measured"
    if result.effect_lower is None or result.effect_upper is None:
        return f"{result.effect:.2f}"
    return f"{result.effect:.2f} ({result.effect_lower:.2f} to {result.effect_upper:.2f})"


def _moment(at: float, now: float) -> str:
    """A time of day, with the date when it is not today's, and how long ago."""
    try:
        when, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    except (OverflowError, ValueError, OSError):
        return "an unknown time"
    shown = when.strftime("%H:%M:%S UTC" if when.date() == today.date() else "%Y-%m-%d %H:%M:%S UTC")
    ago = f", {span(now - at)} ago" if now - at >= 1 else ""
    return f'<time datetime="{when.isoformat(timespec="seconds")}">{shown}</time>{ago}'


def span(seconds: float) -> str:
    """``42 s``, ``7 min``, ``3.5 h``, ``2.1 d``."""
    for unit, size, digits in (("d", 86400.0, 1), ("h", 3600.0, 1), ("min", 60.0, 0)):
        if seconds >= size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{max(seconds, 0):.0f} s"
