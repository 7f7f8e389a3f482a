"""What the relay's rows stand on: nginx as model and as peer, wrk as clients, CPU by the scheduler's own count."""

from __future__ import annotations

import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.capture_relay.box import free_port

CONNECTIONS = 64
MODEL = """worker_processes 1; daemon off; master_process off; pid {folder}/model.pid; error_log {folder}/model.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; default_type application/json; {temp}
 server {{ listen 127.0.0.1:{model} backlog=4096; location / {{ return 200 '{answer}'; }} }} }}
"""
PROXY = """worker_processes 1; daemon off; master_process off; pid {folder}/proxy.pid; error_log {folder}/proxy.err;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; {temp}
 upstream model {{ server 127.0.0.1:{model}; keepalive 128; keepalive_requests 100000000; }}
 server {{ listen 127.0.0.1:{proxy} backlog=4096;
  location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
"""
SCRIPT = 'wrk.method = "POST"\nwrk.body = string.rep("1", {size})\nwrk.headers["Content-Type"] = "application/json"\n'
KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def missing() -> str:
    """What these rows need and this machine lacks; empty: nothing."""
    names = [name for name in ("nginx", "wrk") if shutil.which(name) is None]
    return f"{', '.join(names)} not installed: make system-deps" if names else ""


class Servers:
    """A model and a proxy, both nginx with one process each.

    Attributes:
        model, proxy: ports.
        proxy_pid: whose CPU is the peer's.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self.model, self.proxy = free_port(), free_port()
        temp = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in KINDS)
        answer = '{"predictions":[' + ",".join(["0.00037"] * 128) + "]}"
        self._running = []
        for name, text in (("model", MODEL), ("proxy", PROXY)):
            path = folder / f"{name}.conf"
            path.write_text(
                text.format(folder=folder, temp=temp, model=self.model, proxy=self.proxy, answer=answer),
                encoding="ascii",
            )
            self._running.append(
                subprocess.Popen(["nginx", "-p", str(folder), "-c", str(path)], stderr=subprocess.DEVNULL)
            )
        self.proxy_pid = self._running[1].pid
        for port in (self.model, self.proxy):
            listening(port)

    def load(self, port: int, seconds: float, *, size: int = 1_024) -> tuple[int, int]:
        """(exchanges, failed ones) of wrk with `CONNECTIONS` connections."""
        script = self._folder / f"post{size}.lua"
        script.write_text(SCRIPT.format(size=size), encoding="ascii")
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
        counted = re.search(r"(\d+) requests in", told)
        assert counted is not None, told
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
        failed = sum(map(int, errors.groups())) if errors else 0
        return int(counted[1]), failed + (int(bad[1]) if bad else 0)

    def stop(self) -> None:
        """Ends both."""
        for one in self._running:
            one.kill()
            one.wait()


@contextmanager
def servers() -> Iterator[Servers]:
    """Running servers."""
    with tempfile.TemporaryDirectory(prefix="pfrelay") as folder:
        made = Servers(pathlib.Path(folder))
        try:
            yield made
        finally:
            made.stop()


def listening(port: int) -> None:
    """Waits until somebody accepts on a port.

    Raises:
        OSError: nobody does within 10 s.
    """
    end = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def cpu_ns(pid: int) -> int:
    """Nanoseconds on a CPU since the start of a process, its threads included."""
    return sum(int(p.read_text().split()[0]) for p in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"))


def rss(pid: int, field: str = "VmRSS") -> int:
    """Resident bytes of a process; ``field`` VmHWM: the most there ever was."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise ValueError(field)
