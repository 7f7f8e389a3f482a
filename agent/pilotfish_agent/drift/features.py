"""Section `features` of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pilotfish_agent.drift import strata
from pilotfish_core.config import choice, option

SECTION: Final = "features"


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):  # of a variable or a flag
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise ValueError("a list of column names such as [request_id, ts]")
    return tuple(value)


def _types(value: Any) -> tuple[tuple[str, str], ...]:
    kinds = ("numeric", "categorical")
    if isinstance(value, str):  # of a variable or a flag
        value = {k.strip(): v.strip() for k, _, v in (part.partition("=") for part in value.split(","))}
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and v in kinds for k, v in value.items()):
        raise ValueError("a mapping of column names to numeric or categorical, such as {hour: categorical}")
    return tuple(value.items())


def _timezone(value: Any) -> str:
    strata.zone_of(value)
    return str(value)


@dataclass(frozen=True, slots=True)
class Config:
    """Features: which columns are watched, and as what."""

    ignore: tuple[str, ...] = option((), _names, "Columns that are not watched.", "[request_id]")
    types: tuple[tuple[str, str], ...] = option(
        (), _types, "Columns whose kind is not to be guessed: numeric or categorical.", "{hour: categorical}"
    )
    season: str = option(
        "auto",
        choice("auto", *strata.COUNTS),
        "Daily and weekly patterns: rows are compared with reference rows of the same hour of day, of the same hour "
        "with weekends apart, or of the same hour of week; auto: what the reference shows.",
        "auto",
    )
    timezone: str = option("UTC", _timezone, "In which days and hours are told, such as Europe/Berlin.", "UTC")
