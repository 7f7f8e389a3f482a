"""Two versions of a model through the real SDK to a real agent: what status, page, log and metrics say."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.agent.live import Live, until
from tests.agent.test_reload import judged, pilotfish, reference

CANARY = """
import os, random, sys, time
from pilotfish import Monitor
random.seed(int(sys.argv[2] == "8"))
monitor = Monitor(name="toy", version=sys.argv[2])
canary = sys.argv[2] == "8"
while os.getppid() == int(sys.argv[3]) or not canary:
    for _ in range(40):
        x = {"age": random.gauss(44 if canary else 40, 10), "color": random.choice("abc")}
        monitor.observe(features=x, prediction=random.choice(["yes", "no"]))
    if not canary and os.path.exists(sys.argv[1] + "/canary"):
        os.unlink(sys.argv[1] + "/canary")
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, sys.argv[0], sys.argv[1], "8", str(os.getppid())])
    time.sleep(0.1)
"""


def compared(live: Live) -> dict[str, Any]:
    """What the comparison says, empty while there is none."""
    return dict(live.model().get("versions") or {})


def start(live: Live) -> None:
    """Version 7 serves, and there is evidence; the file `canary` in ``live.root`` starts version 8 beside it."""
    reference(live.root / "ref.json")
    config, script = live.root / "pilotfish.yaml", live.root / "canary.py"
    config.write_text("drift: {tick: 1s, dependence: 1}\nmodels: [{match: toy, reference: ref.json}]\n")
    script.write_text(CANARY)
    live.start("--config", str(config), command=[sys.executable, str(script), str(live.root), "7", "0"])
    until(lambda: judged(live), "evidence")


def test_a_canary_beside_the_version_that_serves(live: Live) -> None:
    """It differs in one feature by .4 sd; the same words everywhere, one event, and no scipy in the agent's process."""
    start(live)
    assert compared(live) == {}
    (live.root / "canary").touch()
    until(lambda: compared(live).get("state") == "different", "the versions to differ")
    found = compared(live)
    assert (found["baseline"], found["candidate"], found["how"]) == ("7", "8", "same_time")
    assert found["largest"][0]["feature"] == "age"
    assert found["words"].startswith("version 8 beside 7: different after ")
    assert "age: mean" in found["words"]
    assert "version 8 beside 7: different" in live.get("/")
    assert "toy: version 8 beside 7: different after " in pilotfish(live, "status").stdout
    assert live.metric('pilotfish_version_state{baseline="7",model="toy",model_version="8",state="different"}') == 1.0
    effect = live.metric('pilotfish_version_effect{baseline="7",feature="age",model="toy",model_version="8"}')
    assert effect is not None
    assert 0.2 < effect < 0.8
    told = [json.loads(line) for line in live.log.splitlines() if "version_compared" in line]
    assert told[-1]["state"] == "different"
    assert told[-1]["words"].startswith("version 8 beside 7: different after ")
    assert len(told) <= found["looks"]
    agent = live.status()["processes"]["agent"]
    with open(f"/proc/{agent}/maps") as maps:
        assert "/scipy/" not in maps.read()  # but numpy ships a libscipy_openblas
