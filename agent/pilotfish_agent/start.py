"""How an agent begins, under `run` or `attach`: log, configuration, references, then `app.Agent` to its end."""

from __future__ import annotations

import asyncio
import gc
import os

from pilotfish_agent import logs, memory, reload
from pilotfish_agent.app import CONFIG_BAD, Agent
from pilotfish_agent.capture import rights
from pilotfish_agent.launch import postmortem
from pilotfish_agent.launch.handover import Handover, Heart
from pilotfish_agent.launch.options import config_flags
from pilotfish_agent.launch.values import problems, with_variables
from pilotfish_agent.pipeline.references import References
from pilotfish_agent.pipeline.targets import Wanted
from pilotfish_agent.surroundings import Surroundings
from pilotfish_core.clock import SystemClock
from pilotfish_core.events import Event, Events

REFERENCE_BAD = Event("reference_bad", "error", "The reference cannot be used; a provisional one is learnt.")
EVENTS = (REFERENCE_BAD,)


def main(handover: Handover) -> int:
    """The agent under `run`: watches the model it was given, leaves with it. Returns the exit code."""
    heart = Heart(handover.heartbeat_fd)
    handover.options = with_variables(handover.options, os.environ)
    options = handover.options
    origin = reload.Origin(options.get("config"), config_flags(options), options.get("reference"))
    settings = origin.settings()
    name = settings.section("target").name or handover.target
    before = None if handover.restarts else postmortem.news(handover.state_dir)
    target = Wanted(name, (handover.model_pid, handover.model_start or None), None, before, handover.launched_ns / 1e9)
    notices = [before.words()] if before is not None and before.words() else []
    return start(Surroundings(handover, settings, origin, SystemClock(), heart, targets=(target,), notices=notices))


def start(around: Surroundings) -> int:
    """Runs an agent to its end in this process."""
    handover, settings = around.handover, around.settings
    log = settings.section("log")
    usual = handover.log_file in {"", os.path.join(handover.state_dir, "agent.log")}  # not one that was asked for
    lines = logs.set_up(handover.log_file, level=log.level, form=log.format, journal=usual)
    events = Events(around.clock)
    wrong = (*settings.problems, *problems(handover.options), *rights.problems(settings.section("capture")))
    faults = [problem.line() for problem in wrong]
    for fault in faults:
        events.emit(CONFIG_BAD, error=fault)
        around.heart.warn(fault)
    around.config_ok = not faults
    around.faults += faults + list(settings.warnings)
    around.notices += handover.problems
    if around.references is None:
        around.references = _references(around, events)
    memory.limit(settings.section("limits").memory)
    agent = Agent(around, events)
    gc.collect()
    gc.freeze()  # what lives from here on lives for good: full collections need not look at it
    try:
        return asyncio.run(agent.run())
    finally:
        lines.flush()


def _references(around: Surroundings, events: Events) -> References:
    """Those that are good."""
    found, problems = reload.references(around.origin, around.settings, around.heart.beat)
    for problem in problems:
        events.emit(REFERENCE_BAD, error=problem.line())
        around.heart.warn(problem.line())
        around.faults.append(problem.line())
        around.config_ok = False
    return found
