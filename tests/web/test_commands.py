"""`pilotfish status`, `rules` and `list`, as a user types them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pilotfish_agent import cli
from pilotfish_agent.commands import _agents, status
from pilotfish_agent.web import documents
from pilotfish_agent.web.server import build_app, serve
from pilotfish_exporters.prometheus import Exporter
from tests.standard import standard_snapshot
from tests.web.live import Site
from tests.web.test_vitals import hardware, lately


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of our own, the only one looked into."""
    monkeypatch.setattr(_agents, "bases", lambda: [str(tmp_path)])
    return tmp_path


def announce(runtime: Path, name: str, address: str) -> None:
    (runtime / name).mkdir()
    (runtime / name / "address").write_text(address + "\n")


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """A live agent's HTTP in a thread, because the command blocks."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[str] = []

    async def live() -> None:
        served = await serve(build_app(lambda: site.snapshot, Exporter()), "127.0.0.1", 0)
        found.append(served.address)
        ready.set()
        await stop.wait()
        await served.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    assert ready.wait(10)
    yield found[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_status_finds_the_only_agent_and_prints_one_screen(
    runtime: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who, where, how well, what changed, since when, why."""
    announce(runtime, "digits", address)
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    for part in ("target     digits, pid 4242, up", "drifting [warning] pixel_07 since 2024-11-22 23:56:00 UTC",
                 "1 per 30d false alarms", "more rows in", "notice: the reference"):  # fmt: skip
        assert part in out
    assert len(out.splitlines()) < 25


def test_status_has_the_gpus_and_of_the_vital_signs_what_is_not_well() -> None:
    """A line each, before the models."""
    document = json.loads(documents.encode(documents.status(hardware(6), lately(6))))
    lines = status.screen(document).splitlines()
    assert "gpu        0 NVIDIA H100 80GB HBM3, busy 97 %, 60.0 GiB of 80.0 GiB, 350 W of 700 W, XID 79 1 time, " in (
        "\n".join(lines)
    )
    assert "warning    Throttled: 40 % (of CPU periods: the limit is too small, in the last 5 min)" in lines
    assert "critical   OOM kills: 3 (1 in the last 5 min)" in lines
    assert not any("CPU limit" in line for line in lines)
    several = document | {
        "targets": [{"name": "digits", "pid": 1, "up": True}, {"name": "other", "pid": 2, "up": True}]
    }
    kills = [line for line in status.screen(several).splitlines() if "OOM kills" in line]
    assert kills == ["critical   Control group: OOM kills: 3 (1 in the last 5 min)"]


def test_status_json_is_the_document_of_the_api(
    runtime: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same object, for scripts."""
    announce(runtime, "digits", address)
    assert cli.main(["status", "--json", "--agent", "digits"]) == 0
    expected = json.loads(documents.encode(documents.status(standard_snapshot())))
    assert json.loads(capsys.readouterr().out) == expected


def test_status_without_an_agent_says_where_it_looked(runtime: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit 1, and what to do."""
    assert cli.main(["status"]) == 1
    err = capsys.readouterr().err
    assert str(runtime) in err
    assert "pilotfish run" in err
    assert err.count("\n") == 1


def test_status_of_several_agents_needs_a_name(runtime: Path, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 with the names; a dead one's address does not count."""
    announce(runtime, "a", address)
    announce(runtime, "dead", "127.0.0.1:1")
    assert cli.main(["status"]) == 0
    announce(runtime, "b", address)
    assert cli.main(["status"]) == 2
    err = capsys.readouterr().err
    assert "a, b" in err
    assert "--agent NAME" in err


def test_status_of_an_unknown_name_lists_the_known(runtime: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2."""
    announce(runtime, "a", "127.0.0.1:1")
    assert cli.main(["status", "--agent", "b"]) == 2
    assert "a running instance (a)" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["127.0.0.1:1", "nonsense", "host:port", "127.0.0.1:99999", "[::1]:1"])
def test_status_of_an_agent_that_does_not_answer_is_one_line(
    runtime: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever stands in the address file."""
    announce(runtime, "a", where)
    assert cli.main(["status"]) == 1
    err = capsys.readouterr().err
    assert "does not answer" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("body", [b"<html>", b"[" * 100_000, b"\xff\xfe"])
def test_a_stranger_on_the_address_is_said_to_be_one(
    runtime: Path, body: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another server took the port: what it answered is no status."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

        thread = threading.Thread(target=answer)
        thread.start()
        announce(runtime, "a", f"127.0.0.1:{listener.getsockname()[1]}")
        assert cli.main(["status"]) == 1
        thread.join(10)
    err = capsys.readouterr().err
    assert "expected JSON at /api/v1/status" in err
    assert err.count("\n") == 1


def test_what_is_no_instance_is_passed_over(runtime: Path) -> None:
    """Files, empty folders, empty and unreadable addresses; a folder that is not there."""
    (runtime / "file").write_text("x")
    (runtime / "empty").mkdir()
    announce(runtime, "blank", "")
    (runtime / "binary").mkdir()
    (runtime / "binary" / "address").write_bytes(b"\xff\xfe")
    announce(runtime, "good", "127.0.0.1:1")
    assert [a.name for a in _agents.agents([str(runtime / "nowhere"), str(runtime), str(runtime)])] == ["good"]


def test_status_of_a_starting_agent_says_so(
    runtime: Path, site: Site, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not ready is not broken."""
    site.snapshot = None
    announce(runtime, "a", address)
    assert cli.main(["status"]) == 1
    assert "not ready: no sample yet" in capsys.readouterr().err


def test_an_agent_that_listens_everywhere_is_asked_on_loopback(runtime: Path, address: str) -> None:
    """0.0.0.0 is an address to bind, not to connect to."""
    announce(runtime, "a", "0.0.0.0:" + address.rpartition(":")[2])
    assert _agents.get(_agents.find(None), "/api/v1/status")["instance"] == "digits"


def test_names_from_the_data_cannot_move_the_cursor() -> None:
    """Control characters of a feature's name are replaced on a terminal."""
    usual = standard_snapshot()
    evil = replace(usual.drift[1], feature="\x1b[2Jgone", explanation="a\nb")
    document = json.loads(documents.encode(documents.status(replace(usual, drift=(evil,)))))
    screen = status.screen(document)
    assert "\x1b" not in screen
    assert "a�b" in screen


def test_a_document_of_another_version_is_shown_as_far_as_it_goes() -> None:
    """Missing keys are left out."""
    assert "no predictions yet" in status.screen({})
    assert "and 5 more" in status.screen({"drift": [{"verdict": "drifting"}] * 15})


def test_rules_prints_a_rule_file_and_a_prometheusrule(capsys: pytest.CaptureFixture[str]) -> None:
    """To stdout, so that it can be redirected."""
    assert cli.main(["rules"]) == 0
    plain = yaml.safe_load(capsys.readouterr().out)
    assert cli.main(["rules", "--format", "kubernetes", "--runbooks", "http://wiki"]) == 0
    wrapped = yaml.safe_load(capsys.readouterr().out)
    names = [r["alert"] for r in plain["groups"][0]["rules"]]
    assert [r["alert"] for r in wrapped["spec"]["groups"][0]["rules"]] == names
    assert wrapped["spec"]["groups"][0]["rules"][0]["annotations"]["runbook_url"].startswith("http://wiki#")


@pytest.mark.parametrize("wrong", ["latency_seconds", "nope=1", "error_ratio=x", "=1"])
def test_a_wrong_setting_of_rules_is_one_line_and_exit_2(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on stdout: a redirect must not leave half a file."""
    assert cli.main(["rules", "--set", wrong]) == 2
    done = capsys.readouterr()
    assert (done.out, done.err.count("\n")) == ("", 1)


def test_rules_lists_what_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, default, reason."""
    assert cli.main(["rules", "--settings"]) == 0
    assert "latency_seconds" in capsys.readouterr().out
    assert cli.main(["rules", "--settings", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["settings"]
    assert next(s for s in listed if s["name"] == "latency_seconds")["default"] == "1"
    assert cli.main(["rules", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_list_names_every_part_and_metric(capsys: pytest.CaptureFixture[str]) -> None:
    """Files are parts: what is in the folders is on the list, with one line each."""
    assert cli.main(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    parts = {(p["kind"], p["name"]): p["about"] for p in found["parts"]}
    assert ("exporter", "prometheus") in parts
    assert ("collector", "memory") in parts
    assert ("alert", "watchdog") in parts
    assert all(parts.values())
    metrics = {m["name"] for m in found["metrics"]}
    assert {"pilotfish_build_info", "pilotfish_process_resident_memory_bytes", "pilotfish_events_total"} <= metrics
    assert cli.main(["list"]) == 0
    assert "pilotfish_build_info{version,python}" in capsys.readouterr().out
