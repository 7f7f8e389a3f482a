"""``pilotfish status``: one screen of a running agent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pilotfish_agent.commands import _agents
from pilotfish_agent.target import pss
from pilotfish_agent.target.tree import ProcessTree
from pilotfish_core import config
from pilotfish_core.clock import SystemClock
from pilotfish_core.errors import UsageError

HELP = "one screen of a running agent: is the model well, what changed, since when, why"
_SHOWN = 10
_MIB = 2**20
_WHY = {
    "above_limit": "above --pss-limit, counting would stall it",
    "permission": "not ours to read, be its user or root",
    "not_supported": "this kernel does not tell",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--json", action="store_true", help="the whole as JSON, as at /api/v1/status")
    parser.add_argument("--agent", metavar="NAME", help="which instance, where several run")
    parser.add_argument(
        "--pss",
        action="store_true",
        help="also reads, once and now, the memory of the model with shared pages counted once (PSS); while the kernel "
        "counts, page faults of the process wait: about 13 ms a GiB, longer where the CPUs are busy",
    )
    parser.add_argument(
        "--pss-limit", metavar="SIZE", default="1GiB", help="processes with more memory are left out of --pss (1GiB)"
    )


def run(args: argparse.Namespace) -> int:
    """Asks and prints."""
    try:
        limit = config.size(args.pss_limit)
    except ValueError as error:
        raise UsageError("--pss-limit", got=args.pss_limit, expected=str(error)) from None
    document = dict(_agents.get(_agents.find(args.agent), "/api/v1/status"))
    if args.pss:
        document["pss"] = _read_pss(document, limit)
    sys.stdout.write(json.dumps(document, indent=2) + "\n" if args.json else screen(document))
    return 0


def _read_pss(document: Mapping[str, Any], limit: int) -> dict[str, dict[str, Any]]:
    """By target, of those that run."""
    ours = frozenset(pid for pid in (document.get("processes") or {}).values() if pid is not None)
    found = {}
    for target in document.get("targets") or [document.get("target") or {}]:
        if target.get("pid") is not None:
            tree = ProcessTree(target["pid"], None, clock=SystemClock(), exclude=ours)
            tree.scan()
            found[str(target.get("name", "?"))] = asdict(pss.measure(tree, limit))
            tree.close()
    return found


def screen(document: Mapping[str, Any]) -> str:
    """The document of `/api/v1/status` as text; what an older or newer agent leaves out is left out."""
    lines = [*_head(document), *_memory(document), "", *_models(document), *_changes(document)]
    lines += [f"notice: {_clean(n)}" for n in document.get("notices") or ()]
    return "\n".join(lines).rstrip() + "\n"


def _head(document: Mapping[str, Any]) -> Iterator[str]:
    for target in document.get("targets") or [document.get("target") or {}]:
        up = {"True": "up", "False": "DOWN"}.get(str(target.get("up")), "unknown")
        pid = f", pid {target['pid']}" if target.get("pid") is not None else ""
        ended = f"; {_clean(target['ended'])}" if target.get("ended") else ""
        yield f"target     {_clean(target.get('name', '?'))}{pid}, {up}{ended}"
    yield f"instance   {_clean(document.get('instance', '?'))}, Pilotfish {_clean(document.get('version', '?'))}"
    if document.get("listen"):
        yield f"page       http://{_clean(document['listen'])}/"
    capture = document.get("capture") or {}
    if capture.get("mode"):
        ports = ", ".join(_clean(port) for port in capture.get("ports") or ())
        words = f", {_clean(capture['words'])}" if capture.get("words") else ""
        yield f"capture    {_clean(capture['mode'])}{f', port {ports}' if ports else ''}{words}"
    budget = document.get("budget") or {}
    if budget.get("false_alarms"):
        total = budget.get("implied_total")
        yield f"budget     {_clean(budget['false_alarms'])} false alarms" + (
            f", in all {_clean(total)}" if total else ""
        )
    pids = [f"{_clean(n)} {p}" for n, p in (document.get("processes") or {}).items() if p is not None]
    if pids:
        yield f"processes  {', '.join(pids)}"
    yield from _hardware(document)


def _hardware(document: Mapping[str, Any]) -> Iterator[str]:
    """The GPUs, and of the vital signs those that are not well."""
    for gpu in document.get("gpus") or ():
        shown = (f"busy {gpu['busy']}" if gpu.get("busy") else "", *(gpu.get(k) for k in ("memory", "power", "notes")))
        yield f"gpu        {', '.join(_clean(part) for part in (gpu.get('gpu'), *shown) if part)}"
    several = len(document.get("targets") or ()) > 1
    for vital in document.get("vitals") or ():
        if vital.get("tone"):
            where = f"{_clean(vital['group'])}: " if several and vital.get("group") else ""
            note = f" ({_clean(vital['note'])})" if vital.get("note") else ""
            yield f"{_clean(vital['tone']):11}{where}{_clean(vital.get('name'))}: {_clean(vital.get('value'))}{note}"


def _memory(document: Mapping[str, Any]) -> Iterator[str]:
    for name, told in (document.get("pss") or {}).items():
        share, whole = (f"{told[key] / _MIB:,.1f} MiB" for key in ("proportional", "resident"))
        several = f"{told['processes']} process{'es' * (told['processes'] != 1)}"
        yield f"pss        {_clean(name)}, {share} in {several}, {whole} with shared pages in each"
        for one in told["left_out"][:_SHOWN]:
            yield f"  without  pid {one['pid']} of {one['resident'] / _MIB:,.1f} MiB: {_WHY[one['why']]}"
        if len(told["left_out"]) > _SHOWN:
            yield f"  and      {len(told['left_out']) - _SHOWN} more: see --json"


def _models(document: Mapping[str, Any]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("MODEL", "VERSION", "STATE", "SEVERITY", "REFERENCE", "ROWS", "WINDOW")]
    words = []
    for m in document.get("models") or ():
        name = _clean(m.get("model", "?"))
        cells = (m.get("model_version"), m.get("state"), m.get("severity"), m.get("reference_id"))
        counts = (f"{m.get('reference_rows', 0):,}", f"{m.get('window_rows', 0):,}")
        rows.append((name, *(_clean(c) if c is not None else "-" for c in cells), *counts))
        if m.get("words"):
            words.append(f"{name}: {_clean(m['words'])}")
        if (m.get("versions") or {}).get("words"):
            words.append(f"{name}: {_clean(m['versions']['words'])}")
    if len(rows) == 1:
        yield "no predictions yet: instrument the model with pilotfish.Monitor, or send it traffic"
        return
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip()
    yield ""
    yield from words


def _changes(document: Mapping[str, Any]) -> Iterator[str]:
    changed = [r for r in document.get("drift") or () if r.get("verdict") in {"drifting", "changed"}]
    for r in changed[:_SHOWN]:
        since = f" since {_time(r['began'])}" if r.get("began") is not None else ""
        effect = f", effect {r['effect']:.2f}" if isinstance(r.get("effect"), int | float) else ""
        why = f": {_clean(r['explanation'])}" if r.get("explanation") else ""
        yield f"{r['verdict']} [{_clean(r.get('severity'))}] {_clean(r.get('feature'))}{since}{effect}{why}"
    if len(changed) > _SHOWN:
        yield f"and {len(changed) - _SHOWN} more: see --json"


def _time(epoch: float) -> str:
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError, TypeError):
        return "an unknown time"


def _clean(value: object) -> str:
    """Text for a terminal: names come from the model's data and must not move the cursor."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))
