"""GPUs read on several libraries, each in a process of its own: nvidia-ml-py keeps the first one it has loaded.

``python -m tests.gpu.asked`` reads cases from its standard input, and forks for each library: the imports are paid for
once.
"""

from __future__ import annotations

import itertools
import json
import operator
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pilotfish_agent.gpu.backend import BackendError
from pilotfish_agent.gpu.report import Gpu
from pilotfish_agent.gpu.wire import decode, encode
from tests.gpu import fake

ROOT: Final = pathlib.Path(__file__).parents[2]
READINGS: Final = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One library with GPUs in one state.

    Attributes:
        driver_library: its path.
        state: of the GPUs.
    """

    driver_library: str
    state: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was told in the last reading.

    Attributes:
        gpus: of it.
        reason: why there is none; words: for people.
    """

    gpus: tuple[Gpu, ...]
    reason: str | None
    words: str

    @property
    def told(self) -> tuple[object, ...]:
        """It without the times."""
        return (self.reason, tuple(replace(gpu, at=0.0) for gpu in self.gpus))

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.reason is None and all(gpu.up and not gpu.gaps for gpu in self.gpus)


def ask(cases: Iterable[Case]) -> list[Answer]:
    """What is told of each case; those of one library, one after the other, in one process."""
    given = json.dumps([(case.driver_library, dict(case.state)) for case in cases])
    words = (sys.executable, "-m", "tests.gpu.asked")
    done = subprocess.run(words, input=given, capture_output=True, text=True, cwd=ROOT, check=True, timeout=100)
    return [_answer(json.loads(line)) for line in done.stdout.splitlines()]


def _answer(plain: dict[str, Any]) -> Answer:
    gpus = tuple(gpu for text in plain["gpus"] if isinstance(gpu := decode(text.encode()), Gpu))
    return Answer(gpus, plain["reason"], plain["words"])


def main() -> None:
    """Answers all cases, one line each."""
    from pilotfish_agent.gpu import _nvml_gpm, _nvml_xid

    _nvml_gpm.APART_SECONDS, _nvml_xid.WAIT_MS = 0.0, 1  # type: ignore[misc]
    for library, cases in itertools.groupby(json.loads(sys.stdin.read()), key=operator.itemgetter(0)):
        pid = os.fork()
        if pid == 0:
            for _, state in cases:
                print(json.dumps(_read(library, state)))
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if status:
            raise SystemExit(f"{library}: ended with {os.waitstatus_to_exitcode(status)}")


def _read(library: str, state: dict[str, object]) -> dict[str, Any]:
    from pilotfish_agent.gpu import nvml

    with tempfile.TemporaryDirectory() as folder:
        gpus = fake.Gpus(pathlib.Path(folder) / "gpus", state)
        os.environ.update(gpus.environ)
        backend = nvml.make(library)
        try:
            backend.open()
            found = [backend.read() for _ in range(READINGS)][-1]
        except BackendError as error:
            return {"gpus": [], "reason": error.reason, "words": error.words}
        finally:
            backend.close()
    return {"gpus": [encode(gpu).decode() for gpu in found], "reason": None, "words": ""}


if __name__ == "__main__":
    main()
