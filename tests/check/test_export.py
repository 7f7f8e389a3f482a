"""What `check` hands on: metrics in a file, metrics for a gateway, the tests of the registry."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from pilotfish_agent.commands._check_metrics import group
from tests.check.conftest import Call, as_csv, records
from tests.system import needs


@pytest.fixture
def gateway() -> Iterator[HTTPServer]:
    """Keeps what is put."""

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            puts.append((self.path, self.headers["Content-Type"], body.decode()))
            self.send_response(200 if "refuse" not in self.path else 400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    puts: list[tuple[str, str, str]] = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.puts = puts  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_text_file_has_the_metrics_of_a_live_agent(call: Call, reference: str, tmp_path: Path) -> None:
    """State, severity, effects and distances; exit 3 all the same."""
    data, out = as_csv(tmp_path / "d.csv", records(2_000, 3, shift=0.9)), tmp_path / "check.prom"
    assert call("check", data, "--reference", reference, "--textfile", str(out))[0] == 3
    text = out.read_text()
    assert 'pilotfish_drift_state{state="drifting"} 1.0' in text
    assert 'pilotfish_drift_alert_severity{severity="critical"} 1.0' in text
    assert 'pilotfish_drift_distance{feature="a",test="js"} 0.' in text
    assert 'pilotfish_drift_effect{feature="c"} 0.0' in text
    assert "pilotfish_check_timestamp_seconds 1." in text
    assert "process_" not in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["check.prom", "d.csv"]


@needs("promtool", package="prometheus")
def test_prometheus_reads_the_text_file(call: Call, reference: str, tmp_path: Path) -> None:
    """`promtool check metrics` has nothing to say."""
    data, out = as_csv(tmp_path / "d.csv", records(1_000, 3)), tmp_path / "check.prom"
    assert call("check", data, "--reference", reference, "--textfile", str(out))[0] == 0
    done = subprocess.run(
        [shutil.which("promtool") or "", "check", "metrics"], input=out.read_bytes(), capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_file_that_cannot_be_written_is_said_before_reading(call: Call, reference: str, tmp_path: Path) -> None:
    """Exit 2, and DATA need not even be there."""
    code, _, err = call("check", "none.csv", "--reference", reference, "--textfile", str(tmp_path / "no" / "f.prom"))
    assert (code, "cannot write the metrics" in err) == (2, True)


def test_a_gateway_gets_the_same(call: Call, reference: str, tmp_path: Path, gateway: HTTPServer) -> None:
    """One PUT; a refusal and a gateway that is not there are exit 1, after the report."""
    data = as_csv(tmp_path / "d.csv", records(1_000, 3))
    address = f"http://127.0.0.1:{gateway.server_port}"
    assert call("check", data, "--reference", reference, "--pushgateway", address)[0] == 0
    ((path, kind, body),) = gateway.puts  # type: ignore[attr-defined]
    assert path == "/metrics/job/pilotfish_check"
    assert kind.startswith("text/plain; version=0.0.4")
    assert 'pilotfish_drift_state{state="stable"} 1.0' in body
    code, out, err = call("check", data, "--reference", reference, "--pushgateway", f"{address}/metrics/job/refuse")
    assert (code, "stable: 3 stable" in out, "status 400" in err) == (1, True, True)
    assert call("check", data, "--reference", reference, "--pushgateway", "http://127.0.0.1:9")[0] == 1
    assert call("check", data, "--reference", reference, "--pushgateway", "ftp://x")[0] == 2


@pytest.mark.parametrize("address", ["h:9091", "ftp://h:9091", "http://", "http://u:p@h:9091", "http://h:99999"])
def test_an_address_of_no_gateway_is_said_before_reading(call: Call, reference: str, address: str) -> None:
    """Exit 2 and no report; DATA need not even be there."""
    code, out, err = call("check", "none.csv", "--reference", reference, "--pushgateway", address)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("pilotfish: --pushgateway; got ")


def test_the_error_of_a_gateway_that_is_not_there_is_plain(call: Call, reference: str, tmp_path: Path) -> None:
    """The HTTP client's word on TLS is none for people."""
    data = as_csv(tmp_path / "d.csv", records(1_000, 3))
    _, _, err = call("check", data, "--reference", reference, "--pushgateway", "http://127.0.0.1:9")
    assert "127.0.0.1:9" in err
    assert "ssl" not in err


def test_models_have_groups_of_their_own() -> None:
    """Odd names in base64, as the gateway wants them; an address that names a job stays."""
    assert group("http://h:9091/", "fraud") == "http://h:9091/metrics/job/pilotfish_check/model/fraud"
    assert group("http://h:9091", "a/b") == "http://h:9091/metrics/job/pilotfish_check/model@base64/YS9i"
    assert group("http://h:9091/metrics/job/x", "fraud") == "http://h:9091/metrics/job/x"


def test_all_tests_run_where_the_reference_is_data(call: Call, reference: str, tmp_path: Path) -> None:
    """Binned ones always; exact ones say why not where the reference holds bins only."""
    data = as_csv(tmp_path / "d.csv", records(2_000, 3, shift=0.5))
    raw = as_csv(tmp_path / "r.csv", records(5_000, 1))
    found = {}
    for name, ref in (("built", reference), ("raw", raw)):
        _, out, _ = call("check", data, "--reference", ref, "--tests", "all", "--json")
        found[name] = {t["test"]: t for t in json.loads(out)["features"][0]["tests"]}
    assert found["built"]["ks"] == {
        "test": "ks", "statistic": None, "pvalue": None, "reason": "reference holds no raw values"
    }  # fmt: skip
    assert found["raw"]["ks"]["pvalue"] < 1e-6
    assert found["raw"]["ks_binned"] == found["built"]["ks_binned"]
    assert 0.4 < found["raw"]["wasserstein"]["statistic"] < 0.6
    assert set(found["raw"]) == set(found["built"])
    assert "mmd" not in found["raw"]
    _, out, _ = call("check", data, "--reference", raw, "--tests", "psi,energy")
    assert [line.split()[:2] for line in out.splitlines()[6:8]] == [["a", "energy"], ["a", "psi"]]


def test_vectors_have_tests_of_their_own(call: Call, tmp_path: Path) -> None:
    """An embedding is one feature; MMD and the classifier see its vectors."""
    rng = np.random.default_rng(5)

    def lines(path: Path, rows: int, shift: float) -> str:
        vectors = rng.normal(shift, 1, (rows, 6)).round(4).tolist()
        path.write_text("".join(json.dumps({"features": {"emb": v, "n": i % 7}}) + "\n" for i, v in enumerate(vectors)))
        return str(path)

    raw, same, moved = (lines(tmp_path / f"{n}.jsonl", n, s) for n, s in ((4_000, 0.0), (1_000, 0.0), (1_001, 0.6)))
    code, out, _ = call("check", moved, "--reference", raw, "--tests", "mmd,classifier", "--json")
    found = {f["feature"]: f for f in json.loads(out)["features"]}
    assert code == 3
    assert set(found) == {"emb", "n"}
    assert found["emb"]["verdict"] == "drifting"
    assert all(t["pvalue"] < 0.01 for t in found["emb"]["tests"])
    code, out, _ = call("check", same, "--reference", raw, "--tests", "mmd,classifier", "--json")
    assert code == 0
    assert all(t["pvalue"] > 0.01 for f in json.loads(out)["features"] for t in f["tests"])
