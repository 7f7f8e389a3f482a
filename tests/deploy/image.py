"""The container image, really built, without Docker and without asking anybody for a base image.

The base is Debian's Python, put together from its packages; the libraries are wheels with the hashes of the lock file,
brought by pip as it is configured here, so that the build itself asks nobody. Both are kept in ``.images/``.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
KEPT = ROOT / ".images"
CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"
BASE, NAME = "localhost/pilotfish-base", "localhost/pilotfish"
PROGRAMS = ("mmdebstrap", "buildah", "runc")
PACKAGES = "python3,python3-venv,ca-certificates"
BUILDAH = ("buildah", "--storage-driver", "vfs", "--root", str(KEPT / "storage"), "--runroot", str(KEPT / "run"))


@dataclass(frozen=True, slots=True)
class Image:
    """A built image.

    Attributes:
        config: its configuration: User, Env, Entrypoint, Cmd, ...
        rootfs: its file system, as a folder; nothing in it may be changed.
        layers: compressed bytes of each layer over the base.
        seconds: the build took, without base and wheels.
    """

    config: dict[str, Any]
    rootfs: pathlib.Path
    layers: tuple[int, ...]
    seconds: float


def missing() -> str:
    """The first program that is not there, empty when all are."""
    return next((name for name in PROGRAMS if shutil.which(name) is None), "")


def build() -> Image:
    """The image of this checkout."""
    KEPT.mkdir(exist_ok=True)
    _base()
    _wheels()
    started = time.monotonic()
    wheels = ("--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_FIND_LINKS=/wheels")
    volume = ("--volume", f"{KEPT}/wheels:/wheels:ro")
    options = ("--quiet", "--isolation", "chroot", "--format", "docker", "--build-arg", f"BASE={BASE}")
    _run(*BUILDAH, "bud", *options, *wheels, *volume, "--file", str(CONTAINERFILE), "--tag", NAME, str(ROOT))
    seconds = time.monotonic() - started
    config = json.loads(_run(*BUILDAH, "inspect", "--type", "image", NAME))["Docker"]["config"]
    layers = _layers(NAME)[len(_layers(BASE)) :]
    _run(*BUILDAH, "rm", "--all")
    rootfs = _run(*BUILDAH, "mount", _run(*BUILDAH, "from", "--pull-never", NAME))
    return Image(config, pathlib.Path(rootfs), layers, seconds)


def _base() -> None:
    tar = KEPT / "base.tar"
    if not tar.exists():
        print("building the base image from Debian's packages (once, about a minute)", file=sys.stderr, flush=True)
        part = KEPT / "part-base.tar"
        _run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(part))
        part.rename(tar)
    known = subprocess.run([*BUILDAH, "inspect", "--type", "image", BASE], capture_output=True, timeout=60)
    if known.returncode:
        container = _run(*BUILDAH, "from", "scratch")
        _run(*BUILDAH, "add", "--quiet", container, str(tar), "/")
        _run(*BUILDAH, "commit", "--quiet", container, BASE)
        _run(*BUILDAH, "rm", container)


def _wheels() -> None:
    """pip takes what is there already: this asks nobody the second time."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--require-hashes", "--only-binary", ":all:"]
    folder = KEPT / "wheels"
    files = [CONTAINERFILE.parent / name for name in ("requirements.txt", "requirements-build.txt")]
    wanted = [word for file in files for word in ("--requirement", str(file))]
    _run(*pip, "--python-version", "3.11", "--find-links", str(folder), "--dest", str(folder), *wanted)


def _layers(name: str) -> tuple[int, ...]:
    """Compressed sizes, as a registry would keep them."""
    target = KEPT / "pushed"
    shutil.rmtree(target, ignore_errors=True)
    try:
        _run(*BUILDAH, "push", "--quiet", name, f"oci:{target}:it")
        index = json.loads((target / "index.json").read_text())
        digest = index["manifests"][0]["digest"].partition(":")[2]
        manifest = json.loads((target / "blobs" / "sha256" / digest).read_text())
    finally:
        shutil.rmtree(target, ignore_errors=True)
    return tuple(int(layer["size"]) for layer in manifest["layers"])


def _run(*words: str) -> str:
    """What a program prints.

    Raises:
        RuntimeError: it fails.
    """
    done = subprocess.run(words, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:2])} ... ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.strip()
