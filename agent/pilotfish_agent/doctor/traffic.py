"""The ways in which the model's traffic can be seen."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

from pilotfish_agent.capture.ports import PortFinder, other_network
from pilotfish_agent.capture.rights import tap_problem
from pilotfish_agent.capture.supervisor import ELSEWHERE
from pilotfish_agent.doctor._finding import Finding, Situation
from pilotfish_agent.launch import places

TITLE = "Traffic"
ORDER = 4


def check(situation: Situation) -> Iterator[Finding]:
    """The modes, and the ports they would watch."""
    yield _tap(situation)
    yield _relay()
    yield _sdk(situation)
    yield Finding("scrape", "works", words="of the server's own metrics, where `scrape:` names their address")
    yield _ports(situation)


def _tap(situation: Situation) -> Finding:
    missing = tap_problem()
    if missing is not None:
        return Finding("tap", "missing", missing[0], missing[1].partition(":")[0], _after(missing[1]))
    if situation.pid is not None and other_network(situation.pid):
        words = "the model is in another network namespace"
        return Finding("tap", "missing", "not_supported", words, _after(ELSEWHERE))
    return Finding("tap", "works", words="of plaintext HTTP; TLS gives timings only")


def _after(words: str) -> str:
    """What stands behind the first colon or semicolon of ``WHAT: DO THIS``."""
    before, mark, after = words.partition(":")
    return (after if mark else before.partition(";")[2]).strip()


def _relay() -> Finding:
    if importlib.util.find_spec("uvloop") is None:
        return Finding("relay", "missing", "not_installed", "uvloop is missing", 'pip install "pilotfish[agent]"')
    return Finding("relay", "works", words="only when asked for: --capture relay --relay-listen ADDR")


def _sdk(situation: Situation) -> Finding:
    """The model sends to a socket in our runtime folder, which is ours alone where no group is given."""
    bases = places.runtime_bases(lambda name: os.environ.get(name, ""))
    folder = next((b for b in bases if _writable(b)), None)
    if folder is None:
        words = f"no runtime folder can be made: {', '.join(bases)}"
        return Finding("sdk", "missing", "permission", words, "PILOTFISH_RUNTIME_DIR names a folder we can write")
    if not situation.same_user and situation.uid != 0:
        words = f"uid {situation.uid} may not send to a socket of uid {os.geteuid()}"
        return Finding("sdk", "missing", "permission", words, "--intake-group GROUP, with the model's user in it")
    return Finding("sdk", "works", words=f"socket below {folder}")


def _writable(folder: str) -> bool:
    while not os.path.isdir(folder) and folder != "/":
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK | os.X_OK)


def _ports(situation: Situation) -> Finding:
    if not situation.named:
        return Finding("ports", "missing", "no_data", "no model was named", "--pid, --port, --name, --cgroup or --unit")
    if situation.pid is None:
        return Finding("ports", "missing", "no_data", "the process was not found, see above")
    found = PortFinder(situation.capture.ignore_ports, budget=2.0).look((situation.pid,))
    given = situation.capture.ports or ((situation.port,) if situation.port is not None else ())
    if given:
        return Finding("ports", "works", words=f"{_list(given)}, as given")
    if found.denied:
        enable = "tier 1 of the rights above, or capture.ports: [N]"
        words = f"seen: {_list(found.ports) or 'none'}; descriptors of the tree may not be read"
        return Finding("ports", "partly" if found.ports else "missing", "permission", words, enable)
    if found.ports:
        return Finding("ports", "works", words=_list(found.ports))
    return Finding("ports", "missing", "no_data", "the tree listens on no TCP port in this network namespace")


def _list(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports))
