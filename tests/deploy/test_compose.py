"""The compose stack's files: what the programs that read them say, and what they promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from examples.digits import inbox
from pilotfish_agent import config
from pilotfish_alerts import generate
from tests.system import needs

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
SCHEMA = Path(__file__).with_name("schemas") / "compose-spec.json"
ALERTS = {rule.alert: rule for rule in generate.rules()}


def read(name: str) -> Any:
    return yaml.safe_load((COMPOSE / name).read_text(encoding="utf-8"))


def services() -> dict[str, Any]:
    found: dict[str, Any] = read("compose.yaml")["services"]
    return found


def run(*command: str) -> str:
    """Its output; fails with it."""
    done = subprocess.run(command, cwd=COMPOSE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_compose_yaml_is_one() -> None:
    """By the schema of the Compose specification, which refuses a key that it does not know."""
    check = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    document = read("compose.yaml")
    assert [f"{e.json_path}: {e.message}" for e in check.iter_errors(document)] == []
    document["services"]["pilotfish"]["memlimit"] = "1m"
    assert list(check.iter_errors(document))


def test_what_the_stack_mounts_builds_and_names_is_there() -> None:
    """Files of the checkout, volumes, services."""
    document = read("compose.yaml")
    mounts = [mount.split(":")[:2] for s in services().values() for mount in s.get("volumes", ())]
    assert [m for m, _ in mounts if m.startswith(".") and not (COMPOSE / m).exists()] == []
    named = {m for m, _ in mounts if not m.startswith(".")}
    assert named == set(document["volumes"])
    for service in services().values():
        if build := service.get("build"):
            assert (COMPOSE / build["context"] / build["dockerfile"]).is_file()
        assert set(service.get("depends_on", ())) <= set(services())


def test_only_this_machine_reaches_the_ports() -> None:
    """There are no users and no TLS: every published port is one of the loopback."""
    ports = [port for service in services().values() for port in service.get("ports", ())]
    assert len(ports) >= 5
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)


def test_pilotfish_is_beside_the_model_with_no_right_of_its_own() -> None:
    """The model's namespaces and user, nothing to write but its two folders, no capability, bounded."""
    model, ours = services()["model"], services()["pilotfish"]
    assert (ours["pid"], ours["network_mode"]) == ("service:model", "service:model")
    assert ours["user"] == model["user"] == "65532:65532"
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert "cap_add" not in ours
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert ours["mem_limit"] == "256m"
    assert ours["healthcheck"]["test"][0] == "CMD"
    written = {v.split(":")[1] for v in ours["volumes"] if not v.endswith(":ro")}
    assert written == {"/run/pilotfish", "/var/lib/pilotfish"}
    assert "ports" not in ours, "a container in another one's network publishes nothing; Compose refuses it"
    assert any(port.endswith(":7374") for port in model["ports"])


def test_the_model_needs_nothing_of_pilotfish() -> None:
    """It starts before it, and does not wait for it."""
    assert set(services()["model"]["depends_on"]) == {"prepare"}
    instance = next(w for w in services()["pilotfish"]["command"] if w.startswith("--instance=")).partition("=")[2]
    assert services()["model"]["environment"]["PILOTFISH_SOCKET"] == f"/run/pilotfish/{instance}/intake.sock"


def test_the_command_line_and_the_configuration_are_understood() -> None:
    """Each flag of `attach` is one; each key of pilotfish.yaml is one."""
    known = run(sys.executable, str(ROOT / "bin" / "pilotfish"), "attach", "--help")
    flags = [word.partition("=")[0] for word in services()["pilotfish"]["command"] if word.startswith("--")]
    assert len(flags) >= 4
    assert [flag for flag in flags if flag not in known] == []
    settings = config.load(str(COMPOSE / "pilotfish.yaml"), {}, {})
    assert (settings.problems, settings.warnings) == ((), ())


@needs("promtool", package="prometheus")
def test_prometheus_takes_its_file() -> None:
    """With the rules; promtool names what it cannot read."""
    found = run("promtool", "check", "config", "prometheus.yml")
    assert f"{len(ALERTS) + len(generate.records())} rules found" in found


def test_the_rules_are_those_of_this_version() -> None:
    """`pilotfish rules` gives what is committed."""
    committed = (COMPOSE / "rules" / "pilotfish.yml").read_text(encoding="utf-8")
    again = run(sys.executable, str(ROOT / "bin" / "pilotfish"), "rules")
    assert committed == again, "pilotfish rules > deploy/compose/rules/pilotfish.yml"


def test_grafana_counts_with_at_least_the_scrape_interval() -> None:
    """A `timeInterval` below it makes rates of too few samples: panels without data."""
    files = ROOT.glob("grafana/provisioning/datasources/*.yaml")
    sources = [d for f in files for d in yaml.safe_load(f.read_text(encoding="utf-8"))["datasources"]]
    every = int(read("prometheus.yml")["global"]["scrape_interval"].removesuffix("s"))
    assert [int(s["jsonData"]["timeInterval"].removesuffix("s")) >= every for s in sources] == [True]
    assert sources[0]["url"] == "http://prometheus:9090"


def test_addresses_are_services_with_that_port() -> None:
    """`http://inbox:8080/pager` is a service whose command line says 8080."""
    text = "".join((COMPOSE / name).read_text(encoding="utf-8") for name in ("prometheus.yml", "alertmanager.yml"))
    found = set(re.findall(r"\b([a-z]+):(\d{4})\b", text))
    assert found == {("alertmanager", "9093"), ("model", "7374"), ("inbox", "8080")}
    for name, port in found:
        listens = services()["pilotfish" if (name, port) == ("model", "7374") else name]["command"]
        assert any(word.endswith(f":{port}") for word in listens), (name, port)


@needs("amtool", package="prometheus-alertmanager")
@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda r: r.alert)
def test_an_alert_goes_where_its_severity_says(rule: Any) -> None:
    """Alertmanager's own tool plays the routes."""
    receiver = {"none": "dead-mans-switch", "critical": "pager", "warning": "tickets", "info": "nobody"}[rule.severity]
    labels = (f"alertname={rule.alert}", f"severity={rule.severity}")
    told = run("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", *labels)
    assert told.splitlines()[0] == receiver  # then a warning about another flag


@needs("amtool", package="prometheus-alertmanager")
def test_alertmanager_takes_its_file() -> None:
    """And what it inhibits are alerts of ours."""
    assert "4 receivers" in run("amtool", "check-config", "alertmanager.yml")
    names = set(re.findall(r'alertname = "(\w+)"', (COMPOSE / "alertmanager.yml").read_text(encoding="utf-8")))
    assert names <= set(ALERTS)
    assert {"PilotfishProbeFailing", "PilotfishDriftStale"} <= set(ALERTS)
    assert read("alertmanager.yml")["route"]["group_by"] == ["alertname", "model"]


@pytest.fixture
def address() -> Iterator[str]:
    """An inbox that runs."""
    inbox.Handler.kept.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), inbox.Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_inbox_prints_and_keeps_what_comes(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each alert; what is no notification is refused."""
    labels = {"alertname": "PilotfishDown", "instance": "a:1"}
    note = {"alerts": [{"status": "firing", "labels": labels, "annotations": {"summary": "a:1 does not answer"}}]}
    with urllib.request.urlopen(f"{address}/pager", json.dumps(note).encode(), timeout=10) as answer:
        assert answer.status == 200
    assert capsys.readouterr().out == "pager: FIRING PilotfishDown: a:1 does not answer\n"
    with urllib.request.urlopen(address, timeout=10) as answer:
        kept = json.load(answer)
    assert [(a["receiver"], a["status"], a["labels"]) for a in kept] == [("pager", "firing", labels)]
    for wrong in (b"", b"[]", b'{"alerts": [{}]}', b'{"alerts": 1}'):
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            urllib.request.urlopen(address, wrong, timeout=10)
        refused.value.close()
