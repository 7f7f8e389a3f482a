"""``python -m benchmarks.bars GROUP [--slow] [--only TEXT]``: every bar of a group, measured now, one row each.

A row is a function in a file of ``benchmarks/<group>/``, marked by `bar`; the folder is the registry.
Output: ``BAR<TAB>name<TAB>measured<TAB>bar<TAB>ok|short|absent<TAB>versions``, last line ``bars GROUP: 17 of 19 hold``.
Slow rows also go into a dated file of ``benchmarks/results/``.
``BARS_S`` bounds the seconds: a row not reached is short. Exit 1 when a row is short.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import os
import pathlib
import pkgutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

RESULTS = pathlib.Path(__file__).parent / "results"
GROUPS = ("walking", "capture", "seen", "drift", "hardware", "out", "quality", "safe")


@dataclass(frozen=True, slots=True)
class Result:
    """What a row measured.

    Attributes:
        measured: the number with its unit, as printed.
        holds: True, False, or None when this machine cannot tell (`measured` then says why).
        versions: of the peers in the same run, ``name version``.
    """

    measured: str
    holds: bool | None
    versions: str = field(default="")


Measure = Callable[[], Result]


@dataclass(frozen=True, slots=True)
class Row:
    """One bar: `measure` is called at each run, nothing is recorded by hand."""

    name: str
    bar: str
    measure: Measure
    slow: bool


def bar(name: str, limit: str, *, slow: bool = False) -> Callable[[Measure], Measure]:
    """Marks a function as the measurement of one bar."""

    def mark(measure: Measure) -> Measure:
        measure.__bar__ = Row(name, limit, measure, slow)  # type: ignore[attr-defined]
        return measure

    return mark


def versions(*names: str) -> str:
    """``pilotfish 0.1.0, numpy 2.4.6`` of installed distributions."""
    return ", ".join(f"{n} {version(n)}" for n in ("pilotfish", *names))


def rows(group: str) -> Iterator[Row]:
    """All rows of a group, by file and by line."""
    package = importlib.import_module(f"benchmarks.{group}")
    for module_info in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"benchmarks.{group}.{module_info.name}")
        marked = [v.__bar__ for v in vars(module).values() if hasattr(v, "__bar__")]
        yield from (r for r in marked if r.measure.__module__ == module.__name__)


def verdict(row: Row) -> tuple[str, Literal["ok", "short", "absent"], str]:
    """(measured, verdict, versions) of a row; a crash is short, with its last line."""
    try:
        result = row.measure()
    except Exception as error:  # noqa: BLE001 - one row must not hide the others
        traceback.print_exc(file=sys.stderr)
        return f"crashed: {type(error).__name__}: {error}".replace("\n", " ").replace("\t", " "), "short", versions()
    word: Literal["ok", "short", "absent"] = "absent" if result.holds is None else "ok" if result.holds else "short"
    return result.measured, word, result.versions or versions()


def main() -> int:
    """Runs one group."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):  # ignored under nohup and in a shell's background
        signal.signal(number, signal.SIG_DFL)  # what is started here must die of them as anywhere
    parser = argparse.ArgumentParser(prog="benchmarks.bars")
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--slow", action="store_true", help="the slow rows, into a dated file of benchmarks/results/")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    args = parser.parse_args()
    deadline = time.monotonic() + float(os.environ.get("BARS_S", "inf"))
    chosen = [r for r in rows(args.group) if r.slow == args.slow and args.only in r.name]
    lines, held, short = [], 0, 0
    for row in chosen:
        late = time.monotonic() >= deadline
        measured, word, with_versions = ("not reached", "short", versions()) if late else verdict(row)
        held += word == "ok"
        short += word == "short"
        lines.append(f"BAR\t{row.name}\t{measured}\t{row.bar}\t{word}\t{with_versions}")
        print(lines[-1], flush=True)
        if args.slow:
            keep_result(args.group, lines[-1])
    absent = len(chosen) - held - short
    lines.append(f"bars {args.group}: {held} of {len(chosen)} hold" + (f", {absent} absent" if absent else ""))
    print(lines[-1])
    return 1 if short or not chosen else 0


def keep_result(group: str, line: str) -> None:
    """A slow row goes into the day's file with the measured commit; a later run replaces an earlier one."""
    commit = subprocess.run(("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True).stdout.strip()
    path = RESULTS / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}-{group}-slow.txt"
    name = line.split("\t")[1]
    kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [k for k in kept if k.split("\t")[2] != name]
    path.write_text("\n".join([*kept, f"{commit or 'unknown'}\t{line}"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
