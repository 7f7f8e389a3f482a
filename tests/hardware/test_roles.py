"""What processes of model servers are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.target.roles import ROLES, role


@pytest.mark.parametrize(
    ("command", "line", "expected"),
    [
        ("python3", "python3 -m app", "worker"),
        ("uvicorn", "", "worker"),
        ("VLLM::EngineCor", "VLLM::EngineCore_DP0", "engine"),
        ("python3", "VLLM::EngineCore", "engine"),
        ("VLLM::Worker_TP", "VLLM::Worker_TP0", "rank"),
        ("VLLM::APIServer", "VLLM::APIServer_0", "frontend"),
        ("VLLM::DPCoordin", "VLLM::DPCoordinator", "controller"),
        ("sglang::schedul", "sglang::scheduler_TP0", "engine"),
        ("sglang::detoken", "sglang::detokenizer", "tokenizer"),
        ("ollama", "ollama runner --model /m", "engine"),
        ("ollama", "ollama serve", "worker"),
        ("text-generation", "/usr/bin/python /usr/bin/text-generation-server serve", "rank"),
        ("text-generation", "text-generation-router --port 80", "frontend"),
        ("text-generation", "/opt/bin/text-generation-server serve", "rank"),
        ("ray::ServeRepli", "ray::ServeReplica:app:Model", "replica"),
        ("ray::ServeContr", "ray::ServeController.listen", "controller"),
        ("ray::ProxyActor", "ray::ProxyActor", "frontend"),
        ("raylet", "/site-packages/ray/core/src/ray/raylet/raylet --store", "controller"),
        ("triton_python_b", "/opt/tritonserver/backends/python/triton_python_backend_stub x", "replica"),
        ("python", "python /ts/model_service_worker.py --sock-type unix", "replica"),
        ("pt_data_worker", "python train.py", "data_loader"),
        ("python", "python -c from multiprocessing.resource_tracker import main;main(5)", "resource_tracker"),
        ("python", "python -c from multiprocessing.forkserver import main; main(5)", "fork_server"),
        ("python", "python -c from multiprocessing.spawn import spawn_main; --multiprocessing-fork", "worker"),
        ("python", "python /torch/_inductor/compile_worker/__main__.py --kind=fork", "compiler"),
        ("cc1plus", "cc1plus -quiet", "compiler"),
        ("gunicorn: maste", "gunicorn: master [app]", "master"),
        ("gunicorn: worke", "gunicorn: worker [app]", "worker"),
        ("nginx", "nginx: master process nginx", "master"),
        ("sh", "sh -c python serve.py", "shell"),
        ("shiny", "shiny", "worker"),
    ],
)
def test_names_of_servers(command: str, line: str, expected: str) -> None:
    """As the kernel has them: the command name is cut to 15 bytes, words end in zeros; a title is one word."""
    words = line if ": " in line else line.replace(" ", "\0", 2)
    assert role(command, words.encode() + b"\0") == expected


@given(st.text(max_size=15), st.binary(max_size=2000))
def test_there_are_no_other_roles(command: str, line: bytes) -> None:
    """Whatever a process calls itself, the label has few values."""
    assert role(command, line) in ROLES


def test_there_are_few() -> None:
    """Each is a series of several metrics."""
    assert len(ROLES) == len(set(ROLES)) <= 16
