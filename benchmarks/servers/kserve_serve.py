"""A model behind KServe's Python server: `kserve_serve.py PORT`, with the interpreter of .servers/kserve."""

import sys
from typing import Any

import kserve


class Squares(kserve.Model):  # type: ignore[misc]
    """Squares numbers."""

    def __init__(self) -> None:
        super().__init__("squares")
        self.ready = True

    def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:  # noqa: ARG002 - KServe's
        """One number an instance."""
        return {"predictions": [x**2 for x in payload["instances"]]}


kserve.ModelServer(http_port=int(sys.argv[1]), enable_grpc=False, workers=1).start([Squares()])
