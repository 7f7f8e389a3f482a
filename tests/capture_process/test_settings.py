"""Section `capture` of the configuration, and the options of `run` that stand above it."""

import pytest

from pilotfish_agent import config
from pilotfish_agent.capture.rights import problems
from pilotfish_agent.capture.settings import Config
from pilotfish_agent.launch.options import config_flags


def load(options: dict[str, str], **environ: str) -> config.Settings:
    return config.load(None, environ, config_flags(options), default_path="/nowhere")


def test_a_relay_that_nobody_starts_is_said() -> None:
    """--relay-listen alone is no relay, and not silently so."""
    found = problems(Config(relay_listen="127.0.0.1:1"))
    expected = "expected --capture relay beside it: nothing else puts a hop into the model's path"
    assert [p.line() for p in found] == [f"--relay-listen; got '127.0.0.1:1'; {expected}"]
    assert problems(Config(mode="relay", relay_listen="127.0.0.1:1")) == []


def test_options_and_variables_are_keys() -> None:
    """--capture and --relay-listen stand above the file; lists come with commas."""
    given = load(
        {"capture": "relay", "relay-listen": ":8500", "port": "8501"}, PILOTFISH_CAPTURE_IGNORE_PORTS="9, 8002"
    )
    assert not given.problems
    assert given.section("capture") == Config(mode="relay", relay_listen="127.0.0.1:8500", ignore_ports=(9, 8002))
    assert given.section("target").port == 8501
    assert load({}).section("capture") == Config()


@pytest.mark.parametrize(
    ("options", "environ", "words"),
    [
        ({"capture": "tapp"}, {}, "command line: --capture; got 'tapp'; expected one of auto, tap, relay, off"),
        ({"capture": "relay"}, {}, "expected capture.relay_listen (--relay-listen ADDR) with mode relay"),
        (
            {"capture": "relay", "relay-listen": "host:99999"},
            {},
            "--relay-listen; got 'host:99999'; expected HOST:PORT",
        ),
        ({}, {"PILOTFISH_CAPTURE_PORTS": "1,2,3,4,5,6,7,8,9"}, "at most 8 TCP ports"),
        ({}, {"PILOTFISH_CAPTURE_PORTS": "http"}, "at most 8 TCP ports"),
        ({}, {"PILOTFISH_CAPTURE_BUDGET": "1"}, "a size from 1KiB to 1024MiB"),
        ({}, {"PILOTFISH_CAPTURE_BODIES": "some"}, "one of sampled, all, none"),
        ({}, {"PILOTFISH_CAPTURE_INTERFACES": "a/b"}, "network interfaces"),
        ({}, {"PILOTFISH_CAPTURE_RELAY_KEY": "k.pem"}, "capture.relay_cert with capture.relay_key"),
    ],
)
def test_what_cannot_be_is_said(options: dict[str, str], environ: dict[str, str], words: str) -> None:
    """What, got, expected; what is good stays in force."""
    found = load(options, **environ)
    assert any(words in problem.line() for problem in found.problems), [p.line() for p in found.problems]
    assert isinstance(found.section("capture"), Config)
