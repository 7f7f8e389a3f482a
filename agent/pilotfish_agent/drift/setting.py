"""What a user says of a model's drift, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pilotfish_agent.drift.features import Config as Features
from pilotfish_agent.drift.options import Config

MAX_FEATURES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Setting:
    """The configuration, as far as it speaks of a model.

    Attributes:
        config: section `drift`.
        features: section `features`: what is not watched, kinds and seasons.
        task: ``model.task``.
        max_features: `limits.features`.
    """

    config: Config
    features: Features = field(default_factory=Features)
    task: str = "auto"
    max_features: int = MAX_FEATURES
