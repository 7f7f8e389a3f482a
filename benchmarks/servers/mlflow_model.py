"""Saves a model for MLflow: `mlflow_model.py FOLDER`, with the interpreter of .servers/mlflow."""

import sys
from typing import Any

import mlflow.pyfunc


class Squares(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Squares the column `age`."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:  # noqa: ARG002 - MLflow's signature
        """One number a row."""
        return (model_input["age"] ** 2).tolist()


mlflow.pyfunc.save_model(sys.argv[1], python_model=Squares())
