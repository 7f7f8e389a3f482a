"""Starts the servers that only the scraper is tried on: BentoML, KServe, Ray Serve, Triton (CPU)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from benchmarks.servers import environments
from benchmarks.servers.environments import HERE
from benchmarks.servers.starters import Served, emptied, free_port, started


@contextlib.contextmanager
def bentoml() -> Iterator[Served]:
    """BentoML; metrics on its own port."""
    python, port = environments.python("bentoml"), free_port()
    binaries = pathlib.Path(python).parent
    with emptied() as folder:
        shutil.copy(HERE / "bentoml_service.py", folder)
        env = {"PATH": f"{binaries}:{os.environ['PATH']}", "BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "1"}
        command = [str(binaries / "bentoml"), "serve", "bentoml_service:Squares", "--host", "127.0.0.1"]
        with started([*command, "--port", str(port)], port, "/readyz", folder=folder, env=env) as served:
            yield served


@contextlib.contextmanager
def kserve() -> Iterator[Served]:
    """KServe's Python server; metrics on its own port."""
    python, port = environments.python("kserve"), free_port()
    with emptied() as folder:
        command = [python, str(HERE / "kserve_serve.py"), str(port)]
        with started(command, port, "/v1/models/squares", folder=folder) as served:
            yield served


@contextlib.contextmanager
def ray() -> Iterator[Served]:
    """Ray Serve; metrics on the port that the node exports them on, some 10 s after."""
    python, port, metrics = environments.python("ray"), free_port(), free_port()
    with emptied() as folder:
        env = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(folder),
            "PATH": f"{pathlib.Path(python).parent}:{os.environ['PATH']}",
        }
        command = [python, str(HERE / "ray_serve.py"), str(port), str(metrics)]
        with started(command, port, "/-/healthz", folder=folder, env=env, metrics=metrics) as served:
            yield served


@contextlib.contextmanager
def triton() -> Iterator[Served]:
    """Triton's own binary, of the pytriton wheel, with its Python backend."""
    python, (port, grpc, metrics) = environments.python("triton"), (free_port(), free_port(), free_port())
    packages = next((pathlib.Path(python).parent.parent / "lib").glob("python*/site-packages"))
    server = packages / "pytriton" / "tritonserver"
    with emptied() as folder:
        shutil.copytree(HERE / "triton_model", folder / "models")
        model = folder / "models" / "adder" / "1" / "model.py"
        model.write_text(model.read_text(encoding="utf-8").replace("SITE_PACKAGES", str(packages)), encoding="utf-8")
        shutil.copytree(server / "backends", folder / "backends")
        stub = next((server / "python_backend_stubs").glob("3.11/triton_python_backend_stub"))
        (folder / "backends" / "python" / stub.name).unlink(missing_ok=True)
        pathlib.Path(shutil.copy(stub, folder / "backends" / "python")).chmod(0o755)
        options = {
            "model-repository": folder / "models",
            "backend-directory": folder / "backends",
            "http-port": port,
            "grpc-port": grpc,
            "metrics-port": metrics,
            **dict.fromkeys(("http-address", "grpc-address", "metrics-address"), "127.0.0.1"),
        }
        command = [str(server / "bin" / "tritonserver"), *(f"--{name}={value}" for name, value in options.items())]
        env = {"LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs")}
        with started(command, port, "/v2/models/adder/ready", folder=folder, env=env, metrics=metrics) as served:
            yield served
