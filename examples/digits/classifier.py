"""The model: logistic regression on scikit-learn's bundled 8x8 digits, and the pool of images it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

PIXELS: Final = tuple(f"pixel_{i}" for i in range(64))
BRIGHTEST: Final = 16
TRAINING: Final = 600
"""Images the model learns from; the other 1,197 are the pool that traffic and reference draw from."""

Images = NDArray[np.int64]
"""Shape (rows, 64), whole numbers from 0 to 16."""


def pool() -> tuple[Images, NDArray[np.int64]]:
    """The images that the model has not seen, and their true digits."""
    images, digits = load_digits(return_X_y=True)
    return images[TRAINING:].astype(np.int64), digits[TRAINING:].astype(np.int64)


def train() -> Any:
    """A classifier that gives the probabilities of the ten digits for pixels from 0 to 1."""
    images, digits = load_digits(return_X_y=True)
    return LogisticRegression(max_iter=300).fit(images[:TRAINING] / BRIGHTEST, digits[:TRAINING])


def probabilities(model: Any, images: Images) -> NDArray[np.float64]:
    """Shape (rows, 10)."""
    found: NDArray[np.float64] = model.predict_proba(images / BRIGHTEST)
    return found


def save(model: Any, path: Path) -> None:
    """Writes the artifact that the server loads."""
    joblib.dump(model, path)


def load(path: Path) -> Any:
    """Reads it."""
    return joblib.load(path)
