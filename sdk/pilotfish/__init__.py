"""The SDK: reports a model's predictions to the Pilotfish agent beside it; does nothing where there is none."""

from pilotfish._monitor import Monitor

__all__ = ["Monitor"]
