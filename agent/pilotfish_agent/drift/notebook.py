"""References and checks of data frames, for notebooks: what `reference build` and `check` do with files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilotfish_agent.drift.builder import ReferenceBuilder, build
from pilotfish_agent.drift.check import Check, Checked, Options
from pilotfish_agent.drift.frames import Frame
from pilotfish_agent.drift.reference import Kind, Reference, require
from pilotfish_agent.drift.rows import Layout
from pilotfish_agent.drift.timed import once_a_tick
from pilotfish_core.clock import SystemClock


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
    table = Frame(frame, columns)
    check = Check(reference, asked)
    for rows in once_a_tick(table, asked.tick_seconds):
        check.add(rows)
    require(reference, (*table.names, *asked.ignore), table.name)
    return check.checked()
