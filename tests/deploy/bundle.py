"""A container of runc, and a process namespace it may share, as in a pod."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.agent.live import until

USER = 65532
MODEL_USER = 65533
MODEL = """
import time
while True:
    sum(range(200_000))
    time.sleep(0.02)
"""
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


@contextmanager
def pod() -> Iterator[tuple[pathlib.Path, int, int]]:
    """A PID namespace with a model of another user in it: (a folder, its init's PID out here, the model's in there)."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-pod-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)  # the model's user reads its script there
        script = folder / "serve_model.py"
        script.write_text(MODEL)
        script.chmod(0o644)
        with _namespace(script) as (init, model):
            yield folder, init, model


def cpu(page: str) -> float:
    """CPU seconds of the watched tree on a page of metrics."""
    found = re.findall(r"^pilotfish_process_cpu_seconds_total\{.*\} (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


@contextmanager
def _namespace(script: pathlib.Path) -> Iterator[tuple[int, int]]:
    inside = 'setpriv --reuid=$WHO --regid=$WHO --clear-groups "$PYTHON" "$SCRIPT" & echo $!; wait'
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside]
    environ = {"PATH": os.environ["PATH"], "WHO": str(MODEL_USER), "PYTHON": "/usr/bin/python3", "SCRIPT": str(script)}
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            model = int(process.stdout.readline())
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield int(children[0]), model
        finally:
            process.kill()


class Container:
    """A container of runc.

    Args:
        folder: an empty one, for the bundle and what the container prints.
        spec: the bundle's configuration.
    """

    def __init__(self, folder: pathlib.Path, spec: Mapping[str, Any]) -> None:
        self._folder = folder
        self._name = f"pilotfish-{uuid.uuid4().hex[:12]}"
        self._runc = ["runc", "--root", str(folder / "runc")]
        (folder / "config.json").write_text(json.dumps(spec))
        with open(folder / "err", "wb") as err:
            words = [*self._runc, "run", "--bundle", str(folder), self._name]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=err, stderr=err)

    @property
    def err(self) -> str:
        """What it has printed."""
        return (self._folder / "err").read_text(errors="replace")

    def pid(self) -> int:
        """PID of its first process, seen from here; 0 while there is none."""
        done = subprocess.run([*self._runc, "state", self._name], capture_output=True, timeout=20)
        return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else 0

    def get(self, path: str, port: int = 7374) -> str:
        """An answer, asked in its network; empty while there is none."""
        url = f"http://127.0.0.1:{port}{path}"
        words = ["nsenter", "--net", "--target", str(self.pid()), sys.executable, "-c", ASK, url]
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout

    def execute(self, words: Sequence[str]) -> int:
        """Runs a command in it, as a health check is; its exit code."""
        done = subprocess.run([*self._runc, "exec", self._name, *words], capture_output=True, timeout=60)
        return done.returncode

    def stop(self) -> int:
        """As `docker stop`: SIGTERM to its first process; the exit code."""
        subprocess.run([*self._runc, "kill", self._name, "TERM"], capture_output=True, timeout=20)
        return self.process.wait(20)

    def close(self) -> None:
        """Leaves nothing."""
        subprocess.run([*self._runc, "delete", "--force", self._name], capture_output=True, timeout=20)
        self.process.kill()
        self.process.wait(20)


@contextmanager
def container(folder: pathlib.Path, spec: Mapping[str, Any]) -> Iterator[Container]:
    """Started, and gone afterwards."""
    one = Container(folder, spec)
    try:
        until(lambda: one.pid() or one.process.poll() is not None, "the container")
        yield one
    finally:
        one.close()


def spec(config: Mapping[str, Any], rootfs: pathlib.Path, words: Sequence[str], namespace: int) -> dict[str, Any]:
    """A bundle as a careful pod would ask for: read-only root, no capability, no new ones, its volumes in memory.

    Args:
        config: the image's.
        rootfs: its files.
        words: in place of the image's Cmd.
        namespace: PID of a process whose PID namespace is shared; the network is its own.
    """
    user, _, group = str(config["User"]).partition(":")
    ids = f"uid={user},gid={group}"
    volumes = [
        {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=0700", ids]}
        for path in config["Volumes"]
    ]
    plain = ["nosuid", "noexec", "nodev"]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro", *plain]},
    ]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": "pod",
        "process": {
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*config["Entrypoint"], *words],
            "env": list(config["Env"]),
            "cwd": config["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "mounts": [*mounts, *volumes],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("mount", "network", "ipc", "uts")),
                {"type": "pid", "path": f"/proc/{namespace}/ns/pid"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"],
        },
    }
