"""What `reference build` and `replay` share: options of data files, references of any kind, tables, progress."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from pilotfish_agent import config
from pilotfish_agent.drift import reference, strata, tables
from pilotfish_agent.drift.ahead import ReadAhead
from pilotfish_agent.drift.builder import ReferenceBuilder, build
from pilotfish_agent.drift.readers import STDIN, DataFile
from pilotfish_agent.drift.reference import Kind, Reference
from pilotfish_agent.drift.rows import Layout, Rows
from pilotfish_core.clock import SystemClock
from pilotfish_core.errors import DataError, UsageError

if TYPE_CHECKING:
    from pilotfish_agent.drift.watch import TableRequest

Source = DataFile | ReadAhead
_BAR = 30
_HEAD = 1 << 16


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which column is what; names may be given several times or with commas."""
    parser.add_argument("--time-column", metavar="C", help="CSV: epoch seconds or RFC 3339 (default: a column `ts`)")
    parser.add_argument("--prediction-column", metavar="C", help="CSV: the prediction; watched as @prediction")
    parser.add_argument("--label-column", metavar="C", help="CSV: the truth; not a feature")
    parser.add_argument("--id-column", metavar="C", help="CSV: the request id; not a feature")
    parser.add_argument("--ignore", metavar="C", action="append", default=[], help="columns that are not watched")
    parser.add_argument("--categorical", metavar="C", action="append", default=[], help="columns that are categories")
    parser.add_argument("--numeric", metavar="C", action="append", default=[], help="columns that must be numbers")
    parser.add_argument("--skip-bad", action="store_true", help="leave bad rows out and count them")
    parser.add_argument("--model", metavar="NAME", help="the model; of a log with several, the one to read")
    parser.add_argument("--model-version", metavar="V", help="its version")


def names(given: list[str]) -> frozenset[str]:
    """Column names of an option that may come several times, with commas."""
    return frozenset(part for text in given for part in text.split(",") if part)


def layout(args: argparse.Namespace) -> Layout:
    """The `Layout` of `add_data_options`.

    Raises:
        UsageError: a column that is to be two things at once.
    """
    numeric, categorical, ignored = names(args.numeric), names(args.categorical), names(args.ignore)
    both = (numeric & categorical) | ((numeric | categorical) & ignored)
    if both:
        raise UsageError("--numeric, --categorical and --ignore exclude one another", got=", ".join(sorted(both)))
    made = Layout(
        time=args.time_column,
        prediction=args.prediction_column,
        label=args.label_column,
        id=args.id_column,
        ignore=ignored,
        numeric=numeric,
        categorical=categorical,
        model=args.model,
    )
    made.check_roles("--{}-column")
    return made


def load_settings(args: argparse.Namespace, flags: Mapping[str, str | None]) -> config.Settings:
    """The configuration with this command's flags; warnings go to stderr.

    Raises:
        ConfigError: the first problem; commands that run once do not go on with half of it.
    """
    settings = config.load(args.config, os.environ, {k: v for k, v in flags.items() if v is not None})
    for warning in settings.warnings:
        say(f"warning: {warning}")
    if settings.problems:
        raise settings.problems[0]
    return settings


def build_reference(
    file: DataFile, args: argparse.Namespace, settings: config.Settings, *, live: bool = True
) -> Reference:
    """Builds the reference of a data file, with progress and notices on stderr; ``live``: ticks will meet it."""
    features, model = settings.section("features"), settings.section("model")
    types: dict[str, Kind] = dict(features.types)
    types.update((name, "numeric") for name in file.layout.numeric)
    types.update((name, "categorical") for name in file.layout.categorical)
    builder = ReferenceBuilder(
        task=model.task,
        ignore=sorted({*features.ignore, *file.layout.ignore}),
        types=types,
        tick_seconds=settings.section("drift").tick,
        season=features.season,
        timezone=features.timezone,
    )
    made = build(
        file,
        builder,
        rows=lambda: with_progress(file, "reading"),
        created=SystemClock().wall(),
        model=args.model or model.name,
        version=args.model_version or model.version,
        source=None if file.path == STDIN else os.path.basename(file.path),
        independent=bool(getattr(args, "independent", False)),
    )
    for notice in reference_notices(made, live=live):
        say(f"notice: {notice}")
    if features.season not in ("auto", made.strata["kind"]):
        say(f"notice: features.season: {features.season}: {_why_poorer(made)}")
    return made


def _why_poorer(made: Reference) -> str:
    """Why a reference tells fewer strata apart than it was asked to."""
    if made.begins is None:
        return "the rows have no times, so all hours are alike; name a --time-column"
    told = strata.WORDS[strata.of_reference(made.strata).kind]
    return f"too few rows: each stratum needs {strata.FIT_ROWS}, so it is {told}"


def reference_notices(made: Reference, *, live: bool = True) -> Iterator[str]:
    """What its user should know of a reference."""
    if made.skipped_rows:
        yield f"{counted(made.skipped_rows, 'bad row')} left out"
    if made.rows < reference.SMALL_ROWS:
        yield (
            f"{made.rows:,} rows are few: only large shifts can be told from chance; "
            f"{reference.SMALL_ROWS:,} or more see smaller ones (see `pilotfish reference show`)"
        )
    if live and any(f.phi_source == "unknown" for f in made.features):
        yield (
            f"whether rows depend on one another is not known: build with --time-column{_time_column(made)} (rows in "
            "order, with times in at least 26 ticks) or with --independent (rows have no order); else the first 1,600 "
            "ticks learn it, and alarms are info until then"
        )


def _time_column(made: Reference) -> str:
    """A column that looks like the time of its row, to be named in the option."""
    found = [i.name for i in made.ignored if i.reason.startswith(("dates or times", "whole numbers that rise"))]
    return f" {found[0]}" if found else ""


def counted(n: int, what: str) -> str:
    """``1 bad row was``, ``3 bad rows were``."""
    return f"{n:,} {what} was" if n == 1 else f"{n:,} {what}s were"


def is_built(path: str) -> bool:
    """Whether a path is a built reference; else it is data.

    Raises:
        DataError: it cannot be read.
    """
    if path == STDIN or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return reference.looks_like_reference(file.read(_HEAD))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", expected="a reference or a data file") from None


def any_reference(path: str, args: argparse.Namespace, settings: config.Settings, *, live: bool = True) -> Reference:
    """A built reference, or the one of a data file."""
    if is_built(path):
        return reference.load(path)
    if path != STDIN and not os.path.exists(path):
        raise DataError(f"{path}: no such file", expected="a reference of `pilotfish reference build`, or a data file")
    return build_reference(DataFile(path, layout(args), skip_bad=args.skip_bad), args, settings, live=live)


def cache_folder(environ: Mapping[str, str]) -> str:
    """Where tables are kept between calls: `$XDG_CACHE_HOME/pilotfish`, else `~/.cache/pilotfish`."""
    base = environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "pilotfish", "tables")


def make_tables(request: TableRequest, environ: Mapping[str, str]) -> list[tables.StreamTables]:
    """The tables asked for: from the cache, or built here and now, which takes some 60 ms a stream."""
    path = os.path.join(cache_folder(environ), f"{request.key}.npz")
    found = tables.load(path, request.specs, request.budget_ticks, request.streams)
    if found is None:
        bar = Progress("tables", sys.stderr, len(request.specs))
        found = tables.build(request.specs, request.budget_ticks, request.streams, built=bar.to)
        bar.done()
        try:
            tables.save(path, request.specs, request.budget_ticks, found)
        except OSError:
            pass  # a cache that cannot be written only costs the next call a few seconds
    return found


def say(text: str) -> None:
    """One line on stderr."""
    print(f"pilotfish: {text}".replace("\n", " "), file=sys.stderr)


def with_progress(file: Source, word: str) -> Iterator[Rows]:
    """A file's rows, with a bar on a terminal."""
    bar: Progress | None = None
    for rows in file:
        if bar is None:
            bar = Progress(word, sys.stderr, file.size)
        bar.to(file.position, f"{file.rows:,} rows")
        yield rows
    if bar is not None:
        bar.done()


class Progress:
    """A bar on a terminal, nothing in a pipe; drawn at most ten times a second.

    Args:
        word: what is going on.
        out: stderr.
        whole: what `to` counts up to, 0 when it is not known.
    """

    def __init__(self, word: str, out: TextIO, whole: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._word, self._out, self._whole = word, out, whole
        self._clock = clock
        self._shown = out.isatty()
        self._last = -1.0
        self._width = 0

    def to(self, done: int, words: str = "") -> None:
        """Moves the bar to ``done``."""
        if not self._shown or (now := self._clock()) < self._last + 0.1:
            return
        self._last = now
        text = f"{self._word} {words}".rstrip()
        if self._whole > 0:
            share = min(done / self._whole, 1.0)
            full = int(share * _BAR)
            text = f"{self._word} [{'#' * full}{' ' * (_BAR - full)}] {share:4.0%} {words}".rstrip()
        self._out.write("\r" + text.ljust(self._width))
        self._width = len(text)
        self._out.flush()

    def done(self) -> None:
        """Takes the bar away."""
        if self._shown and self._width:
            self._out.write("\r" + " " * self._width + "\r")
            self._out.flush()


def check_output(path: str, what: str) -> None:
    """Before an hour of reading: can it be written at all?

    Raises:
        UsageError: it cannot.
    """
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {what}", got=path, expected="a file in a folder that can be written")


def write_output(path: str, text: str, what: str) -> None:
    """Whole or not at all: a reader never sees half a file.

    Raises:
        UsageError: it cannot be written.
    """
    folder = os.path.dirname(path) or "."
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".pilotfish-", encoding="utf-8", delete=False) as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(file.name, 0o666 & ~mask)
        os.replace(file.name, path)
    except OSError as error:
        raise UsageError(f"cannot write {what}: {error.strerror}", got=path, expected="a writable file") from None
