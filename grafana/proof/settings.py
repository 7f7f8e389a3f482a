"""What a dashboard says of one field: unit, value mappings and name, defaults under overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one field.

    Attributes:
        unit: Grafana's name of it.
        mappings: as in the dashboard.
        name: the displayed name, None where it is the field's own.
        hidden: not shown in this place.
    """

    unit: str
    mappings: tuple[Mapping[str, Any], ...]
    name: str | None
    hidden: bool

    def text(self, value: float) -> str | None:
        """The text that stands for a value; None where it is shown as a number."""
        for mapping in self.mappings:
            options = mapping["options"]
            if mapping["type"] == "value":
                found = options.get(f"{value:g}")
            elif mapping["type"] == "range":
                low, high = options.get("from"), options.get("to")
                inside = (low is None or low <= value) and (high is None or value <= high)
                found = options["result"] if inside else None
            else:
                found = None
            if found is not None and found.get("text") is not None:
                return str(found["text"])
        return None


def settings(panel: Mapping[str, Any], name: str, ref: str) -> Settings:
    """Those of the field ``name`` of target ``ref``."""
    config = panel.get("fieldConfig") or {}
    found = dict(config.get("defaults") or {})
    hidden = bool((found.get("custom") or {}).get("hidden"))
    for override in config.get("overrides") or ():
        if not _matches(override["matcher"], name, ref):
            continue
        for item in override["properties"]:
            found[item["id"]] = item.get("value")
            if item["id"] == "custom.hidden":
                hidden = bool(item["value"])
            if item["id"] == "custom.hideFrom":
                hidden = bool(item["value"].get("legend"))
    return Settings(found.get("unit") or "none", tuple(found.get("mappings") or ()), found.get("displayName"), hidden)


def _matches(matcher: Mapping[str, Any], name: str, ref: str) -> bool:
    kind, options = matcher["id"], matcher.get("options")
    if kind == "byName":
        return bool(options == name)
    if kind == "byRegexp":
        return re.search(str(options).strip("/"), name) is not None
    if kind == "byFrameRefID":
        return bool(options == ref)
    if kind == "byType":
        return False  # of columns of text and time
    raise ValueError(f"matcher {kind}: the proof does not know it")
