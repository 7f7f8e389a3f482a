"""A model for Triton's Python backend: squares numbers."""

import sys

sys.path.append("SITE_PACKAGES")  # replaced by the starter: the backend's interpreter does not look there

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Squares numbers."""

    def execute(self, requests: list) -> list:  # type: ignore[type-arg]
        """One answer a request."""
        found = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            found.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", np.square(rows))]))
        return found
