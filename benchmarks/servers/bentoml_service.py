"""A service for BentoML: `bentoml serve bentoml_service:Squares`, with the interpreter of .servers/bentoml."""

from __future__ import annotations

import bentoml


@bentoml.service(name="squares")
class Squares:
    """Squares numbers."""

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, rows: list[float]) -> list[float]:
        """One number a row."""
        return [row**2 for row in rows]
