"""References and checks of data frames, for notebooks: what `reference build` and `check` do with files."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from pilotfish_agent.drift.builder import ReferenceBuilder, build
from pilotfish_agent.drift.check import Check, Checked, Options
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.reference import Kind, Reference, require
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


def reference_of(
    frame: object,
    columns: Layout,
    *,
    model: str | None,
    version: str | None,
    independent: bool,
    task: str,
    season: str,
    timezone: str,
) -> Reference:
    """See `Reference.from_frame`."""
    types: dict[str, Kind] = dict.fromkeys(columns.numeric, "numeric")
    types |= dict.fromkeys(columns.categorical, "categorical")
    builder = ReferenceBuilder(task=task, ignore=sorted(columns.ignore), types=types, season=season, timezone=timezone)
    with _keywords():
        return build(
            Frame(frame, columns),
            builder,
            created=SystemClock().wall(),
            model=model,
            version=version,
            independent=independent,
        )


def checked(reference: Reference, frame: object, columns: Layout, **options: Any) -> Checked:
    """See `Reference.check`; ``options`` as in `check.Options`."""
    asked = Options(ignore=columns.ignore, **options)
    with _keywords():
        table = Frame(frame, columns)
        check = Check(reference, asked)
        for rows in once_a_tick(table, asked.tick_seconds):
            check.add(rows)
        require(reference, (*table.names, *asked.ignore), table.name)
        return check.checked()
