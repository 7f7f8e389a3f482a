"""Panels that may stand still while traffic varies, each with its reason; an entry that no panel needs is a problem.

A panel stands still when no series of it has two different values in the shown range.
"""

from __future__ import annotations

from typing import Final

CONSTANT: Final[dict[tuple[str, str], str]] = {}
"""(uid of the dashboard, title of the panel) -> why nothing moves in it."""
