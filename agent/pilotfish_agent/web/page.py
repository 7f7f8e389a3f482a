"""The page's HTML: is my model well, what changed, since when, why, how much of the budget is spent; then the rest.

Every word is made here, from a Snapshot. The page is whole without a script; with one, the same parts come again by
`/api/v1/live`, and the script puts them in place and draws the charts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from urllib.parse import quote

from pilotfish_agent.web import changed, words
from pilotfish_agent.web.assets import ICON, assets
from pilotfish_agent.web.numbers import Numbers, Rises
from pilotfish_agent.web.vitals._vital import Group
from pilotfish_agent.web.vitals.gpus import GpuRow, gpus
from pilotfish_agent.web.vitals.groups import groups
from pilotfish_core.nouns import DriftResult, ModelStatus, Snapshot

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SHOWN = 40
"""Streams in the table, changes in the list; the API has all."""
WITH_BINS = 8
"""Changes that are listed with their bins; of every stream the drawing has them."""
GAPS = 200


def html(snapshot: Snapshot | None, waiting: Sequence[str] = (), rises: Rises | None = None) -> bytes:
    """The whole page.

    Args:
        snapshot: what to show; None before the first sample.
        waiting: why the agent is not ready, shown as they are.
        rises: by how much counters have risen lately; None where nobody knows.
    """
    filled = dict.fromkeys(("at", "changes", "budget", "vitals", "streams", "models", "alerts", "gaps", "footer"), "")
    filled |= parts(snapshot, waiting, rises)
    title, name = escape(words.headline(snapshot).title), escape(_name(snapshot))
    links = "".join(
        f'<link rel="stylesheet" href="/assets/{a.name}">'
        if a.name.endswith("css")
        else f'<script defer src="/assets/{a.name}"></script>'
        for a in assets().values()
    )
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{title} · {name}</title><meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="/favicon.ico" type="image/svg+xml">{links}'
        '<noscript><meta http-equiv="refresh" content="10"></noscript></head><body>'
        '<a class="skip" href="#verdict">Skip to the verdict</a>'
        f'<header>{ICON}<b>Pilotfish</b><span class="name">{name}</span>{_part("span", "at", filled["at"])}</header>'
        f"<main>{_main(filled)}</main>{_part('footer', 'footer', filled['footer'])}"
        '<p id="said" class="unseen" role="status"></p></body></html>'
    )
    return text.encode(errors="replace")


def _main(filled: dict[str, str]) -> str:
    """The sections in reading order; what is empty takes no room."""
    drawn = (
        '<figure id="shape" class="card half" hidden><figcaption><h2></h2><p class="soft"></p></figcaption>'
        '<div class="drawing"></div><details><summary>The same in numbers</summary>'
        '<div class="wide" tabindex="0" role="region" aria-label="Shares of each bin"></div></details>'
        "</figure>"
    )
    spans = "".join(
        f'<label><input type="radio" name="span" value="{value}"{" checked" if value == "15m" else ""}>'
        f"<span>{text}</span></label>"
        for value, text in (("15m", "15 min"), ("1h", "1 h"), ("24h", "24 h"))
    )
    charts = (
        '<section id="charts" hidden aria-labelledby="charts-title"><div class="bar"><h2 id="charts-title">'
        f'Over time</h2><fieldset><legend class="unseen">Time shown</legend>{spans}</fieldset></div>'
        '<h3>Requests and predictions</h3><div class="charts" id="traffic"></div>'
        '<h3>Hardware of the model</h3><div class="charts" id="hardware"></div>'
        '<h3>GPUs</h3><div class="charts" id="gpus"></div></section>'
    )
    return (
        '<p id="lost" role="alert"></p>'
        + _part("section", "verdict", filled["verdict"], ' tabindex="-1" aria-label="Is my model well?"')
        + _part("section", "changes", filled["changes"], ' class="card wider" aria-label="What changed"')
        + _part("section", "budget", filled["budget"], ' class="card narrow" aria-label="Budget of false alarms"')
        + _part("section", "vitals", filled["vitals"], ' class="card" aria-label="Vital signs"')
        + _part("section", "streams", filled["streams"], ' class="card half" aria-label="Predictions and features"')
        + drawn
        + charts
        + _part("section", "models", filled["models"], ' class="card" aria-label="Models"')
        + _part("section", "alerts", filled["alerts"], ' class="card half" aria-label="Alerts"')
        + _part("section", "gaps", filled["gaps"], ' class="card half" aria-label="Signals that cannot be read"')
    )


def _part(tag: str, name: str, content: str, attributes: str = "") -> str:
    return f'<{tag} id="{name}"{attributes}>{content}</{tag}>'


def parts(snapshot: Snapshot | None, waiting: Sequence[str] = (), rises: Rises | None = None) -> dict[str, str]:
    """What is inside each part of the page, by the id of its element. Before the first sample: the verdict."""
    verdict = {"verdict": _verdict(snapshot, waiting)}
    if snapshot is None:
        return verdict
    return verdict | {
        "at": f"as of {_moment(snapshot.at, snapshot.at)}",
        "changes": _changes(snapshot),
        "budget": _budget(snapshot),
        "vitals": _vitals(Numbers(snapshot, rises)),
        "streams": _streams(snapshot),
        "models": _models(snapshot),
        "alerts": _alerts(snapshot),
        "gaps": _gaps(snapshot),
        "footer": _footer(snapshot),
    }


def _name(snapshot: Snapshot | None) -> str:
    return words.name_of(snapshot.status) if snapshot is not None else "starting"


def _verdict(snapshot: Snapshot | None, waiting: Sequence[str]) -> str:
    found = words.headline(snapshot)
    not_ready = "".join(f'<p class="soft">Not ready: {escape(reason)}.</p>' for reason in waiting)
    return (
        f'<div class="card verdict {found.tone}"><h1>{escape(found.title)}</h1>'
        f"<p>{escape(found.lead)}</p>{not_ready}</div>"
    )


def _changes(snapshot: Snapshot) -> str:
    """What changed, since when, why."""
    moved = [r for r in words.ranked(snapshot.drift) if r.verdict in {"drifting", "changed"}]
    items = "".join(_change(r, snapshot.at, bins=i < WITH_BINS) for i, r in enumerate(moved[:SHOWN]))
    if len(moved) > SHOWN:
        items += f'<li class="soft">and {len(moved) - SHOWN} more in <a href="/api/v1/drift">the API</a></li>'
    none = '<p class="soft">No stream has changed by evidence worth a notice.</p>'
    listed = f'<ul tabindex="0" aria-label="Changes">{items}</ul>' if items else none
    return f"<h2>What changed{f' <small>{len(moved)}</small>' if moved else ''}</h2>{listed}"


def _change(result: DriftResult, now: float, *, bins: bool) -> str:
    since = f" since {_moment(result.began, now)}" if result.began is not None else ""
    rows = f", {result.since_rows:,} rows" if result.since_rows is not None else ""
    held = f'<p class="soft">Only informative: {escape(result.reason)}.</p>' if result.reason else ""
    return (
        f"<li>{_tag(result.severity, result.severity)} <b>{_stream(result, 'change')}</b> "
        f'<span class="soft">of {escape(result.model)} {escape(result.verdict)}{since}{rows}; '
        f"effect {words.effect(result)}</span>{changed.why(result, bins=bins)}{held}</li>"
    )


def _budget(snapshot: Snapshot) -> str:
    found = words.spent(snapshot)
    if found is None:
        return ""
    counted, rule, true = map(escape, found.lines())
    total = snapshot.status.budget.get("implied_total")
    over = f" In all: {escape(total)}." if total and found.models > 1 else ""
    return (
        f'<h2>Budget of false alarms</h2><p class="figure">{counted}</p>'
        f"{_meter(found.share, f'{found.alarms} of {found.allowed:.3g} alarms of the budget')}"
        f'<p class="soft">{rule}{over} {true}</p>'
    )


def _vitals(numbers: Numbers) -> str:
    """Groups side by side, and the GPUs below them."""
    shown = "".join(_group(group) for group in groups(numbers))
    rows = "".join(_gpu(row) for row in gpus(numbers))
    columns = ("GPU", "Busy", "Active", "Memory", "Of the model", "Power", "Heat", "Notes")
    head = f"<tr>{''.join(f'<th scope=col>{name}</th>' for name in columns)}</tr>"
    table = f"<h3>GPUs</h3>{_table('GPUs of this host', head, rows)}" if rows else ""
    return f'<h2>Vital signs</h2><div class="groups">{shown}</div>{table}' if shown or table else ""


def _group(group: Group) -> str:
    tiles = "".join(
        f"<div><dt>{escape(v.name)}</dt><dd{f' class={v.tone}' if v.tone else ''}>{escape(v.value)}"
        f"{f'<small>{escape(v.note)}</small>' if v.note else ''}</dd></div>"
        for v in group.vitals
    )
    room = "few" if len(group.vitals) < 3 else "some" if len(group.vitals) < 6 else "many"
    return f"<div class={room}><h3>{escape(group.title)}</h3><dl>{tiles}</dl></div>"


def _gpu(row: GpuRow) -> str:
    texts = (row.busy, row.active, row.memory, row.model, row.power, row.temperature)
    cells = "".join(f"<td>{_parts(text)}</td>" for text in texts)
    notes = f"<span class={row.tone}>{escape(row.notes)}</span>" if row.tone else escape(row.notes)
    return f'<tr><th scope="row">{escape(row.gpu)}</th>{cells}<td>{notes}</td></tr>'


def _parts(text: str) -> str:
    """Lines break between parts, never between a number and its unit."""
    return " ".join(f'<span class="whole">{escape(part)}</span>' for part in text.replace(", ", ",\n").split("\n"))


def _streams(snapshot: Snapshot) -> str:
    """Evidence of every stream against its threshold, the strongest first."""
    results = words.ranked(snapshot.drift)
    if not results:
        return ""
    named = len({r.model for r in results}) > 1
    rows = "".join(_row(r, named=named) for r in results[:SHOWN])
    head = (
        f'<tr><th scope="col">Stream</th>{"<th scope=col>Model</th>" * named}<th scope="col">Verdict</th>'
        '<th scope="col" class="num">Evidence</th><td class="roomy"></td><th scope="col" class="num">Effect</th></tr>'
    )
    more = f", {len(results) - SHOWN} more in the API" if len(results) > SHOWN else ""
    return (
        f"<h2>Predictions and features <small>{len(results)}</small></h2>"
        '<p class="soft">The strongest evidence first; from 1 on it is an alarm. Choose a stream to see it '
        f"against its reference{more}.</p>{_table('Streams by evidence', head, rows, tall=True)}"
    )


def _row(result: DriftResult, *, named: bool) -> str:
    value = shown = words.ratio(result)
    model = f"<td>{escape(result.model)}</td>" if named else ""
    reason = result.reason if result.verdict == "not_enough_data" else ""
    if result.verdict == "stable" and value >= 1:  # `@model`: what alarms are its streams, and they are named
        value, reason = 0.99, "by its streams"
    reason = f' <span class="soft">{escape(reason)}</span>' if reason else ""
    verdict = f"{_tag(result.severity, result.verdict.replace('_', ' '))}{reason}"
    return (
        f'<tr><th scope="row">{_stream(result, "row")}</th>{model}<td>{verdict}</td>'
        f'<td class="num">{shown:.2f}</td><td class="roomy">{_meter(value, "evidence over the alarm line")}</td>'
        f'<td class="num">{_effect(result)}</td></tr>'
    )


def _stream(result: DriftResult, where: str) -> str:
    """A stream's name, which chooses it; `@model` has no values of its own to show."""
    if result.feature == "@model" or result.reason == "not_in_reference":
        return escape(result.feature)
    place = "/".join(quote(name, safe="", errors="replace") for name in (result.model, result.feature))
    return f'<a href="#stream={place}" data-at="{where}">{escape(result.feature)}</a>'


def _models(snapshot: Snapshot) -> str:
    rows = "".join(_model(m) for m in snapshot.status.models)
    notices = "".join(f'<li class="soft">{escape(n)}</li>' for n in snapshot.status.notices)
    if not rows and not notices:
        return ""
    head = (
        '<tr><th scope="col">Model</th><th scope="col">State</th><th scope="col">Reference</th>'
        '<th scope="col" class="num">Rows in window</th></tr>'
    )
    table = _table("Models and their references", head, rows) if rows else ""
    return f"<h2>Models</h2>{table}{f'<ul class=plain>{notices}</ul>' if notices else ''}"


def _model(model: ModelStatus) -> str:
    version = f' <span class="soft">version {escape(model.model_version)}</span>' if model.model_version else ""
    named = f"<code>{escape(model.reference_id)}</code>, " if model.reference_id else ""
    state = model.state.replace("_", " ")
    lines = [] if model.words in {"", model.state} else [model.words]
    lines += [] if model.versions is None else [str(model.versions["words"])]
    said = "".join(f'<br><span class="soft">{escape(line)}</span>' for line in lines)
    return (
        f'<tr><th scope="row">{escape(model.model)}{version}</th><td>{_tag(_tone(model), state)}{said}</td>'
        f'<td>{named}{model.reference_rows:,} rows</td><td class="num">{model.window_rows:,}</td></tr>'
    )


def _tone(model: ModelStatus) -> str:
    if model.severity != "none":
        return model.severity
    return "none" if model.state == "stable" else "info"


def _alerts(snapshot: Snapshot) -> str:
    """Alerts that fire now, as far as they are known here."""
    items = "".join(
        f"<li>{_tag(str(labels.get('severity', 'info')), str(alert.get('state', 'active')))} "
        f"<b>{escape(str(labels.get('alertname', 'alert')))}</b> "
        f'<span class="soft">{escape(str((alert.get("annotations") or {}).get("summary", "")))}</span></li>'
        for alert in snapshot.alerts
        for labels in (alert.get("labels") or {},)
    )
    none = (
        '<p class="soft">None that the agent knows of. Prometheus evaluates those of <code>pilotfish rules</code>: '
        "drift, failing probes and a model that is down are among them.</p>"
    )
    return f"<h2>Alerts</h2>{f'<ul>{items}</ul>' if items else none}"


def _gaps(snapshot: Snapshot) -> str:
    """What cannot be read here, and why: absent is not zero."""
    if not snapshot.unavailable:
        return '<h2>Signals</h2><p class="soft">Everything that is looked for can be read here.</p>'
    rows = "".join(
        f'<tr><th scope="row"><code>{escape(u.signal.removeprefix("pilotfish_"))}</code></th>'
        f"<td>{escape(u.reason.replace('_', ' '))}</td><td>{escape(u.collector)}</td></tr>"
        for u in snapshot.unavailable[:GAPS]
    )
    head = '<tr><th scope="col">Signal</th><th scope="col">Why</th><th scope="col">Collector</th></tr>'
    many = len(snapshot.unavailable)
    counted = "1 signal cannot be read here" if many == 1 else f"{many} signals cannot be read here"
    return (
        f'<h2>Signals</h2><p class="soft"><code>pilotfish doctor</code> says what would enable them.</p>'
        f'<details id="unread"><summary>{counted}</summary>'
        f"{_table('Signals that cannot be read, and why', head, rows)}</details>"
    )


def _footer(snapshot: Snapshot) -> str:
    status = snapshot.status
    pids = ", ".join(f"{escape(str(n))} {p}" for n, p in status.processes.items() if p is not None)
    return f"{''.join(_links())}<p>Pilotfish {escape(status.version)}, {escape(status.instance)}: {pids}</p>"


def _links() -> Iterator[str]:
    for name, where in (("Metrics", "/metrics"), ("Status", "/api/v1/status"), ("Drift", "/api/v1/drift")):
        yield f'<a href="{where}">{name}</a> '


def _table(caption: str, head: str, rows: str, *, tall: bool = False) -> str:
    """In a box of its own, which scrolls, with the keyboard too, where the table does not fit."""
    return (
        f'<div class="wide{" tall" * tall}" tabindex="0" role="region" aria-label="{caption}"><table>'
        f'<caption class="unseen">{caption}</caption><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    )


def _tag(tone: str, text: str) -> str:
    return f'<span class="tag {escape(tone)}">{escape(text)}</span>'


def _meter(value: float, label: str) -> str:
    """A bar from 0 to 1, of another colour when it is full; what is more is full."""
    limits = 'min="0" max="1" low="0.999" high="0.9995" optimum="0"'
    return f'<meter {limits} value="{min(value, 1.0):.3f}" aria-label="{label}"></meter>'


def _effect(result: DriftResult) -> str:
    """The interval gives way on a phone."""
    value, space, interval = words.effect(result).partition(" (")
    return f'{value}<span class="roomy">{space}{interval}</span>'


def _moment(at: float, now: float) -> str:
    """A time for people and machines, and how long ago."""
    found = words.moment(at, now)
    if found is None:
        return "an unknown time"
    ago = f", {words.span(now - at)} ago" if now - at >= 1 else ""
    return f'<time datetime="{found[0]}">{found[1]}</time>{ago}'
