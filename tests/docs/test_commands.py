"""What README and docs/ tell a reader to type really works, and what they show is what the tools take."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.docs import fences, walk
from tests.docs.fences import COMMANDS, ROOT, Block
from tests.system import needs

MOST_NEEDS = 12
BLOCKS = fences.every()
RUN = [b for b in BLOCKS if b.language in COMMANDS and not b.needs]
MARKED = [b for b in BLOCKS if b.needs]
PAGES = sorted({b.page for b in RUN})
PATH = re.compile(r"\b(?:deploy|examples|grafana)/[\w./@-]*\w")
IN_YAML = ("scrape_configs", "rule_files")


def of(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == language and not b.needs], ids=str)


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, walk.Walked]]:
    """Every page once, some at a time."""
    folder = tmp_path_factory.mktemp("docs")
    shelf = walk.shelf(folder)

    def one(page: str) -> walk.Walked:
        place = folder / page.replace("/", "-")
        place.mkdir()
        return walk.walk([b for b in BLOCKS if b.page == page and (b.title or b in RUN)], place, shelf)

    with ThreadPoolExecutor(4) as pool:
        yield dict(zip(PAGES, pool.map(one, PAGES), strict=True))


@needs("curl", package="curl")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_one_after_the_other(walked: dict[str, walk.Walked], page: str) -> None:
    """From an empty HOME, a fresh environment, the wheel in a local index, without a network."""
    assert walked[page].code == 0, walked[page].printed[-3000:]


def test_every_block_has_a_language_that_is_looked_at() -> None:
    """Commands, data, or a picture: no block escapes by having no name."""
    known = COMMANDS | fences.DATA | fences.PICTURES
    assert [f"{b}: {b.language!r}" for b in BLOCKS if b.language not in known] == []


def test_few_blocks_cannot_run_here(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that need docker, a cluster or systemd as PID 1."""
    with capsys.disabled():
        print(f"\ndocs: {len(RUN)} command blocks run, {len(MARKED)} need something else (at most {MOST_NEEDS})")
    assert len(MARKED) <= MOST_NEEDS
    assert [str(b) for b in MARKED if not set(b.needs.split("|")) <= set(fences.NEEDS)] == []


@pytest.mark.parametrize("block", MARKED, ids=str)
def test_the_files_that_such_a_block_names_are_there_and_valid(block: Block) -> None:
    """They exist; YAML is read; a kustomization is built."""
    for name in PATH.findall(block.text):
        path = ROOT / name
        assert path.exists(), f"{block} names {name}"
        if path.suffix in {".yaml", ".yml"}:
            list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        if (path / "kustomization.yaml").exists():
            words = (str(Path(sys.prefix) / "bin" / "kubectl"), "kustomize", str(path))
            done = subprocess.run(words, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
    assert subprocess.run(("bash", "-n"), input=block.script, text=True, capture_output=True).returncode == 0


@of("python")
def test_python_compiles(block: Block) -> None:
    """As it stands."""
    compile(block.text, str(block), "exec")


@of("json")
def test_json_is_json(block: Block) -> None:
    """One document."""
    json.loads(block.text)


@of("yaml")
@needs("promtool", package="prometheus")
def test_yaml_is_what_its_reader_takes(block: Block, tmp_path: Path) -> None:
    """Prometheus' files by promtool, Compose's by its schema, Kubernetes' have a kind, ours by `config check`."""
    file = tmp_path / "file.yaml"
    file.write_text(block.text, encoding="utf-8")
    documents = list(yaml.safe_load_all(block.text))
    if all(isinstance(d, dict) and {"apiVersion", "kind"} <= set(d) for d in documents):
        return
    if "services" in documents[0]:
        schema = Path(__file__).parents[1] / "deploy" / "schemas" / "compose-spec.json"
        jsonschema.Draft7Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(documents[0])
        return
    if any(key in documents[0] for key in IN_YAML):
        (tmp_path / "pilotfish.yml").write_text("groups: []\n", encoding="utf-8")
        words = ["promtool", "check", "config", str(file)]
    else:
        words = [sys.executable, "-m", "pilotfish_agent", "config", "check", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
