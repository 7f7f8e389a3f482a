"""The sections of the configuration that belong to the agent as a whole; every other section belongs to its part."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pilotfish_core.config import FreeSection, ListSection, choice, duration_between, integer, option, size, text

DEFAULT_MEMORY = 160 * 2**20
"""The agent's own ceiling in bytes: the bar is 80 MiB for all resident processes, so this is twice what it needs."""

_LEAST_MEMORY = 64 * 2**20  # numpy, scipy tables and the interpreter alone take about 50 MiB
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}\Z")

RESERVED_LABELS = frozenset(  # a list of words reads better as words
    """
    alert baseline bin cause class code collector component digest direction domain driver estimated event explanation
    feature finish_reason format framework gpu kind le level method metric mode model model_version name operation
    outcome phase probe protocol python quantile reason receiver reference_id resource role server severity signal
    slice source state target test uuid version xid
    """.split()  # noqa: SIM905
)
"""Label names of our own metrics, of the contract's whole list: a static label of that name would collide."""


def _regex(value: Any) -> str:
    pattern = text()(value)
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"a regular expression ({error})") from None
    return pattern


def _group(value: Any) -> str:
    path = text(4096)(value).rstrip("/")
    if not path.startswith("/"):
        raise ValueError("a control group below the root, such as /system.slice/fraud.service")
    return path


def _unit(value: Any) -> str:
    name = text(255)(value)
    if "/" in name:
        raise ValueError("the name of a systemd unit such as fraud.service")
    return name


@dataclass(frozen=True, slots=True)
class Target:
    """Which process to watch, under `attach`, where all that is given must hold; under `run` it is the command."""

    port: int | None = option(None, integer(1, 65535), "Watch the process that listens on this TCP port.", "8501")
    pid: int | None = option(None, integer(1, 2**22), "Watch the process tree with this root.", "4711")
    name: str | None = option(
        None, _regex, "Regular expression, sought in the command line; also the label `target`.", "tritonserver"
    )
    cgroup: str | None = option(
        None, _group, "Watch the processes in this control group, or below.", "/kubepods.slice/pod1"
    )
    unit: str | None = option(None, _unit, "Watch the processes of this systemd unit.", "fraud.service")


@dataclass(frozen=True, slots=True)
class Model:
    """The model, when there is one and the traffic does not name it."""

    name: str | None = option(None, text(), "Name of the model where the traffic names none.", "fraud")
    version: str | None = option(None, text(), "Its version; unknown when not given.", '"7"')
    task: str = option(
        "auto",
        choice("auto", "classification", "regression", "ranking", "generation", "embedding"),
        "What the predictions are; auto looks at the values.",
        "auto",
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """How often the process tree is measured."""

    interval: float = option(
        2.0, duration_between("100ms", "1h"), "Time between two readings of the process tree.", "2s"
    )


def _memory(value: Any) -> int:
    amount = size(value)
    if amount < _LEAST_MEMORY:
        raise ValueError("a size of at least 64MiB such as 160MiB")
    return amount


@dataclass(frozen=True, slots=True)
class Limits:
    """What Pilotfish may use; everything dropped to stay below is counted."""

    memory: int = option(DEFAULT_MEMORY, _memory, "Ceiling of the agent's memory.", "160MiB")
    series: int = option(10_000, integer(100, 1_000_000), "Most series on /metrics.", "10000")
    features: int = option(1_000, integer(1, 100_000), "Most features watched of one model.", "1000")


@dataclass(frozen=True, slots=True)
class Log:
    """The agent's own log."""

    level: str = option("info", choice("debug", "info", "warning", "error"), "Least level that is written.", "info")
    format: str = option(
        "auto",
        choice("auto", "json", "logfmt"),
        "Form of a line; auto is json in a file, logfmt in the journal and on a terminal.",
        "auto",
    )


def _pattern(value: Any) -> str:
    pattern = text(200)(value)
    if pattern.count("[") != pattern.count("]"):
        raise ValueError("a model's name, in which * stands for any text, such as fraud*")
    return pattern


@dataclass(frozen=True, slots=True)
class ModelReference:
    """What the models of one pattern are compared with."""

    match: str = option("*", _pattern, "Names of models; * stands for any text.", '"fraud*"')
    reference: str = option(
        "", text(4096), "A built reference, or a data file; its path is relative to this file.", "ref.json"
    )

    def __post_init__(self) -> None:
        """An entry that names no reference says nothing."""
        if not self.reference:
            raise ValueError("an entry with a reference, such as {match: fraud*, reference: ref.json}")


def label_name(value: Any) -> str:
    """A label name that Prometheus takes and none of our metrics uses."""
    name = str(value)
    if not _LABEL.match(name) or name.startswith("__"):
        raise ValueError("a label name of letters, digits and _, not starting with a digit or __")
    if name in RESERVED_LABELS:
        raise ValueError("a label name that Pilotfish's own metrics do not use")
    return name


SECTIONS: dict[str, type | FreeSection | ListSection] = {
    "target": Target,
    "targets": ListSection(
        Target,
        "Several process trees to watch, under `attach`, in the place of `target`; each with a label `target`.",
        ("- {port: 8501}", "- {unit: ranker.service}"),
        16,
    ),
    "model": Model,
    "models": ListSection(
        ModelReference,
        "References of several models, the first entry that matches a model's name holds; one that none matches is "
        "compared with --reference, where given.",
        ('- {match: "fraud*", reference: fraud.json}',),
        64,
    ),
    "labels": FreeSection(
        label_name, text(), "Static labels on every series: name and value.", ("team: risk", "env: prod")
    ),
    "sample": Sample,
    "limits": Limits,
    "log": Log,
}
