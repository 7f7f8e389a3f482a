"""A deployment of Ray Serve: `ray_serve.py PORT METRICS_PORT`, with the interpreter of .servers/ray."""

import signal
import sys
from typing import Any

import ray
from ray import serve

ray.init(num_cpus=2, include_dashboard=False, _metrics_export_port=int(sys.argv[2]), object_store_memory=100 << 20)
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Squares:
    """Squares numbers."""

    async def __call__(self, request: Any) -> Any:
        """One number an instance."""
        return {"predictions": [x**2 for x in (await request.json())["instances"]]}


serve.run(Squares.bind(), route_prefix="/squares")  # type: ignore[attr-defined]
print("ready", flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
serve.shutdown()
