"""A model for MLServer: the sum of each row, in the interpreter of .servers/mlserver."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Square(MLModel):  # type: ignore[misc]
    """Adds the squares of a row."""

    async def load(self) -> bool:
        """Nothing to load."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """One number a row."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answer = np.square(rows).sum(axis=1)
        output = NumpyCodec.encode_output("sum", answer)
        return InferenceResponse(id=payload.id, model_name=self.name, model_version=self.version, outputs=[output])
