"""Options that are no configuration key."""

import grp
import os

import pytest

from pilotfish_agent.launch.values import group_id, listen_address, problems, with_variables
from pilotfish_core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7374", ("127.0.0.1", 7374)),
        (":0", ("127.0.0.1", 0)),
        ("8000", ("127.0.0.1", 8000)),
        ("[::1]:65535", ("::1", 65535)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
    ],
)
def test_a_listen_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    """A host that is not given is loopback: /metrics is shown to nobody else unasked."""
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["", "nowhere", "host:", "host:65536", "host:-1", "host:1e3", "host:\u0661"])
def test_another_text_is_refused_with_an_example(text: str) -> None:
    """What, got, expected."""
    with pytest.raises(UsageError, match=r"--listen.*HOST:PORT such as 127\.0\.0\.1:7374"):
        listen_address(text)


def test_every_wrong_option_is_said() -> None:
    """In their order; what is a key of the configuration is not judged here."""
    assert problems({"capture": "auto", "listen": ":0", "model": "m"}) == []
    wrong = problems({"capture": "tapp", "listen": "x", "intake-group": "nobody-has-this"})
    assert [p.what for p in wrong] == ["--listen", "--intake-group"]


def test_a_group_is_a_name_or_a_number() -> None:
    """As chown takes it."""
    own = grp.getgrgid(os.getgid())
    assert group_id(own.gr_name) == group_id(str(own.gr_gid)) == own.gr_gid


def test_a_variable_stands_below_the_option() -> None:
    """An image says where it listens; who says it on the command line is heard."""
    environ = {"PILOTFISH_LISTEN": "0.0.0.0:7374"}
    assert with_variables({"model": "m"}, environ) == {"model": "m", "listen": "0.0.0.0:7374"}
    assert with_variables({"listen": ":0"}, environ) == {"listen": ":0"}
    assert with_variables({}, {"PILOTFISH_LISTEN": ""}) == {}
