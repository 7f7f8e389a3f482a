"""Starts real servers on free ports of loopback, and ends them: one context manager each."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.environments import ROOT
from benchmarks.servers import environments
from benchmarks.servers.environments import HERE
from benchmarks.servers.tiny_gguf import gguf


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is ready.

    Attributes:
        pid: root of its process tree; port: where it answers; log: its output.
        metrics: port of its own metrics.
    """

    pid: int
    port: int
    log: pathlib.Path
    metrics: int


Starter = Callable[[], contextlib.AbstractContextManager[Served]]


def free_port() -> int:
    """A port of loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def started(
    command: Sequence[str],
    port: int,
    health: str,
    *,
    folder: pathlib.Path,
    env: Mapping[str, str] | None = None,
    metrics: int | None = None,
    seconds: float = 120.0,
) -> Iterator[Served]:
    """Runs ``command`` in a group of its own until ``health`` answers 200 on ``port``; ends the group at the end."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env={**os.environ, **(env or {})}, start_new_session=True
        )
    try:
        end = time.monotonic() + seconds
        while not _answers(port, health):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command[0]} does not serve: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield Served(process.pid, port, log, metrics or port)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code < 500 and path == "/"
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def emptied() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="pfserver", dir="/tmp") as folder:
        yield pathlib.Path(folder)


@contextlib.contextmanager
def llama() -> Iterator[Served]:
    """llama.cpp's server on a tiny model of random weights."""
    python, port = environments.python("llama"), free_port()
    with emptied() as folder:
        model = folder / "tiny.gguf"
        model.write_bytes(gguf())
        command = [python, str(HERE / "llama_serve.py"), str(model), str(port)]
        with started(command, port, "/health", folder=folder) as served:
            yield served


@contextlib.contextmanager
def uvicorn() -> Iterator[Served]:
    """An application behind uvicorn with two workers."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--workers", "2", "--port", str(port), "--no-access-log"]
    with (
        emptied() as folder,
        started([*command, "benchmarks.servers.app:app"], port, "/", folder=folder, env={"PYTHONPATH": str(ROOT)}) as s,
    ):
        yield s


@contextlib.contextmanager
def mlserver() -> Iterator[Served]:
    """MLServer with a model of its own kind, REST."""
    python, (port, grpc, metrics) = environments.python("mlserver"), (free_port(), free_port(), free_port())
    env = {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(grpc),
        "MLSERVER_METRICS_PORT": str(metrics),
        "MLSERVER_PARALLEL_WORKERS": "0",
    }
    with emptied() as folder:
        for file in (HERE / "mlserver_model").iterdir():
            if file.is_file():
                shutil.copy(file, folder)
        command = [str(pathlib.Path(python).parent / "mlserver"), "start", "."]
        with started(command, port, "/v2/models/square/ready", folder=folder, env=env, metrics=metrics) as served:
            yield served


@contextlib.contextmanager
def mlflow() -> Iterator[Served]:
    """MLflow's scoring server on a Python model."""
    python, port = environments.python("mlflow"), free_port()
    binaries = pathlib.Path(python).parent
    with emptied() as folder:
        subprocess.run([python, str(HERE / "mlflow_model.py"), "model"], cwd=folder, check=True, stdout=sys.stderr)
        # It starts its server by name, so its folder must be on PATH.
        env = {"PATH": f"{binaries}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        command = [str(binaries / "mlflow"), "models", "serve", "-m", "model", "--env-manager", "local"]
        with started([*command, "-p", str(port), "-w", "1"], port, "/ping", folder=folder, env=env) as served:
            yield served


@contextlib.contextmanager
def nginx() -> Iterator[Served]:
    """Starts nginx in front of the uvicorn application; it is nginx that is watched."""
    port = free_port()
    with uvicorn() as model, emptied() as folder:
        (folder / "nginx.conf").write_text(
            f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream model {{ server 127.0.0.1:{model.port}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location = / {{ return 200; }}
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
""",
            encoding="ascii",
        )
        command = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
        with started(command, port, "/", folder=folder) as served:
            yield served
