"""References and checks of data frames, for notebooks: what `reference build` and `check` do with files."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pilotfish_agent.drift import reference
from pilotfish_agent.drift.builder import ReferenceBuilder, build
from pilotfish_agent.drift.check import Check, Checked, Options
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.reference import Kind
from pilotfish_agent.drift.rows import Layout
from pilotfish_agent.drift.timed import once_a_tick
from pilotfish_core.clock import SystemClock
from pilotfish_core.errors import PilotfishError

_OPTION: Final = re.compile(r"--(\w+)(?:-column)?")
_SEASON: Final = re.compile(r"(`?)features\.season: none\1")


def layout(
    *,
    prediction: str | None = None,
    label: str | None = None,
    time: str | None = None,
    id: str | None = None,  # noqa: A002 - the column's role
    ignore: str | Iterable[str] = (),
    numeric: str | Iterable[str] = (),
    categorical: str | Iterable[str] = (),
) -> Layout:
    """Which column is what; where several may be named, one name will do."""
    made = Layout(time, prediction, label, id, _names(ignore), _names(numeric), _names(categorical))
    made.check_roles()
    return made


def roles(call: Callable[..., Any], columns: Mapping[str, Any]) -> Layout:
    """`layout` of the keywords that ``call`` hands on.

    Raises:
        TypeError: one of them is unknown; all that ``call`` takes are named.
        UsageError: one column with two roles.
    """
    known = list(inspect.signature(layout).parameters)
    for name in columns:
        if name not in known:
            parameters = inspect.signature(call).parameters.values()
            expected = ", ".join([*known, *(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)])
            raise TypeError(
                f"{call.__name__}() got an unexpected keyword argument {name!r}; expected one of {expected}"
            )
    return layout(**columns)


@contextlib.contextmanager
def _keywords() -> Iterator[None]:
    """Errors name the keywords of a call where they name options of a command."""
    try:
        yield
    except PilotfishError as error:
        what, expected, todo = map(_spelled, (error.what, error.expected, error.todo))
        raise type(error)(what, got=error.got, expected=expected, todo=todo) from None


def _spelled(text: str) -> str:
    text = _OPTION.sub(r"\1=...", text.replace(" or use --skip-bad", ""))
    return _SEASON.sub("season='none'", text)


def _names(value: str | Iterable[str]) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)


@dataclass(frozen=True, slots=True, repr=False)
class Reference:
    """What data looked like, for notebooks; the file that `save` writes is what the agent and the commands take.

    Attributes:
        built: the reference itself.
    """

    built: reference.Reference

    @staticmethod
    def from_frame(
        frame: object,
        *,
        model: str | None = None,
        version: str | None = None,
        independent: bool = False,
        task: str = "auto",
        season: str = "auto",
        timezone: str = "UTC",
        **columns: Any,
    ) -> Reference:
        """The reference of a table in memory: a pandas or Arrow table, or a mapping of names to columns.

        Args:
            frame: the table.
            model: its name.
            version: its version.
            independent: rows have no order that matters.
            task: as ``model.task`` of the configuration.
            season: as ``features.season``.
            timezone: as ``features.timezone``.
            columns: which column is what: ``prediction``, ``label``, ``time`` and ``id`` (a name each), ``ignore``,
                ``numeric`` and ``categorical`` (one name or several).

        Raises:
            DataError: a column is not there or of no use, or nothing is left to watch.
            EmptyDataError: fewer than 200 rows.
            UsageError: no table, or a column with two roles.
            TypeError: an argument that is none; the known ones are named.
        """
        asked = roles(Reference.from_frame, columns)
        types: dict[str, Kind] = dict.fromkeys(asked.numeric, "numeric")
        types |= dict.fromkeys(asked.categorical, "categorical")
        builder = ReferenceBuilder(
            task=task, ignore=sorted(asked.ignore), types=types, season=season, timezone=timezone
        )
        now = SystemClock().wall()
        with _keywords():
            table = Frame(frame, asked)
            made = build(table, builder, created=now, model=model, version=version, independent=independent)
        return Reference(made)

    @staticmethod
    def load(path: str) -> Reference:
        """Reads a file of `save`, or of ``pilotfish reference build``.

        Raises:
            DataError: it cannot be read, or is no (whole) reference.
        """
        return Reference(reference.load(path))

    def save(self, path: str) -> None:
        """Writes the reference file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.built.to_json() + "\n")

    def check(self, frame: object, *, fdr: float = 0.05, min_effect: float = 0.1, **columns: Any) -> Checked:
        """What has changed in a table in memory: ``verdict``, and ``streams`` one by one.

        Args:
            frame: as for `from_frame`.
            fdr: expected share of false ones among the streams that are called changed.
            min_effect: chi distance within which a change does not count as drift.
            columns: as for `from_frame`.

        Raises:
            UsageError: the table lacks a column of the reference, or is none; or a column has two roles.
            DataError: a column is of no use.
            EmptyDataError: it has no rows.
            TypeError: as in `from_frame`.
        """
        asked = roles(Reference.check, columns)
        options = Options(ignore=asked.ignore, fdr=fdr, min_effect=min_effect)
        with _keywords():
            table = Frame(frame, asked)
            check = Check(self.built, options)
            for rows in once_a_tick(table, options.tick_seconds):
                check.add(rows)
            reference.require(self.built, (*table.names, *options.ignore), table.name)
            return check.checked()

    def __repr__(self) -> str:
        return f"<Reference {self.built.id}: {self.built.rows:,} rows, {len(self.built.features)} streams>"
