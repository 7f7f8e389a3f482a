"""The image: what can be said without building it, and the built one beside a process of another user."""

from __future__ import annotations

import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import pilotfish_agent.drift
from tests.agent.live import until
from tests.deploy import bundle, image
from tests.system import needs

FOLDER = image.CONTAINERFILE.parent


def test_hadolint_has_nothing_to_say() -> None:
    """The linter of Containerfiles."""
    hadolint = pathlib.Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, image.CONTAINERFILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_promises() -> None:
    """Not root, a health check, a stop signal; the words of what is copied in are the wheel's own roots."""
    text = image.CONTAINERFILE.read_text()
    final = text.rpartition("\nFROM ")[2]
    for line in ("USER 65532:65532", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["pilotfish"]', 'CMD ["attach"]', "EXPOSE 7374"):
        assert line in final
    assert "PILOTFISH_LISTEN=0.0.0.0:7374" in final
    assert re.search(r'^HEALTHCHECK .*CMD \["pilotfish", "status"\]$', final, re.MULTILINE)
    assert "RUN" not in shlex.split(final, comments=True), "nothing is done in the image that is shipped"


def test_what_is_thrown_away_is_not_ours() -> None:
    """Folders called tests go before our wheel comes: the statistical tests of `check` are in one."""
    text = image.CONTAINERFILE.read_text()
    assert 0 < text.index("-name tests") < text.index("--no-index /dist")
    assert (pathlib.Path(pilotfish_agent.drift.__path__[0]) / "tests").is_dir()


def pins(path: pathlib.Path) -> dict[str, set[str]]:
    """Each pinned requirement with its hashes."""
    found: dict[str, set[str]] = {}
    for entry in re.split(r"\n(?=\S)", path.read_text()):
        if "==" in entry.partition("\n")[0] and not entry.startswith("#"):
            found[entry.split()[0]] = set(re.findall(r"sha256:\w+", entry))
    return found


def test_the_images_lock_is_a_part_of_ours() -> None:
    """What is shipped is what was tested: the same versions with the same hashes; `make lock` writes all three."""
    ours, agent, build = (
        pins(path)
        for path in (image.ROOT / "requirements.lock", FOLDER / "requirements.txt", FOLDER / "requirements-build.txt")
    )
    assert len(agent) > 15
    assert len(build) > 4
    for name, hashes in (agent | build).items():
        assert ours[name] == hashes, name
        assert hashes


def test_what_goes_into_the_build_is_named() -> None:
    """The context is closed but for what the wheel is made of."""
    lines = (image.ROOT / ".containerignore").read_text().splitlines()
    opened = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert {"agent", "alerts", "bin", "core", "exporters", "sdk", "pyproject.toml"} <= opened
    assert (image.ROOT / ".dockerignore").read_text().splitlines() == lines


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs("mmdebstrap", package="mmdebstrap")
@needs("buildah", package="buildah")
@needs("runc", package="runc")
def test_the_image_watches_a_process_of_another_user() -> None:
    """Built, started read-only as uid 65532 in a pod's PID namespace, answers, and leaves when it is told to."""
    built = image.build()
    assert sum(built.layers) < 75e6
    with bundle.pod() as (folder, namespace, model):
        words = [*built.config["Cmd"], "--name", "serve_model[.]py"]
        with bundle.container(folder, bundle.spec(built.config, built.rootfs, words, namespace)) as it:
            until(lambda: "watching PID" in it.err or it.process.poll() is not None, "the start line")
            assert f"watching PID {model} " in it.err, it.err
            assert "metrics on http://0.0.0.0:7374/metrics, log stderr" in it.err
            until(lambda: bundle.cpu(it.get("/metrics")) > 0, "CPU time of the model")
            page = it.get("/metrics")
            assert 'pilotfish_target_up{target="serve_model[.]py"} 1.0' in page
            assert re.search(r'signal_unavailable\{collector="io",reason="permission",signal="[^"]+"\} 1\.0', page)
            assert it.execute(["pilotfish", "status"]) == 0, "the health check"
            assert it.stop() == 0
