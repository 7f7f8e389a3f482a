"""What a process of a model server does for it, by its names: a label of few values in place of the PID.

Servers name their processes (setproctitle sets the command name too, cut to 15 bytes), or start them with a module of
their own. Only the words below are known; a process that has none of them is a ``worker``.
"""

from __future__ import annotations

import re
from typing import Final

MAIN: Final = "main"
WORKER: Final = "worker"
OTHER: Final = "other"
"""Of processes that nobody looked at one by one."""

_NAMES: Final[dict[str, str]] = {
    # vLLM: VLLM::EngineCore_DP0; SGLang: sglang::scheduler_TP0; Ollama starts itself as `ollama runner`.
    "engine": r"VLLM::Engine|sglang::sched|ollama\0runner\0",
    # One process a GPU: VLLM::Worker_TP0, shards of TGI, scripts below torchrun or accelerate are workers.
    "rank": r"VLLM::Worker|\S*text-generation-server\0",
    # What speaks HTTP where the engine is apart: VLLM::APIServer_0, TGI's router, Ray Serve's proxy.
    "frontend": r"VLLM::APIServer|\S*text-generation-router\0|ray::\S*Proxy|sglang::(?:http|server|router)",
    "tokenizer": r"sglang::(?:de)?token",
    # They steer others: VLLM::DPCoordinator, SGLang's controller, Ray's own processes.
    "controller": r"VLLM::DPCoord|sglang::data_par|ray::ServeController|\S*raylet\0|\S*gcs_server\0",
    # Replicas of a model below a server that has several: Ray Serve, TorchServe, Triton, BentoML.
    "replica": r"ray::ServeReplica|\S*triton_python_backend_stub\0|.*(?:model_service_worker\.py|bentoml\S*worker)",
    "data_loader": r"pt_data_worker",
    "resource_tracker": r".*multiprocessing\.resource_tracker import",
    "fork_server": r".*multiprocessing\.forkserver import",
    # torch.compile and Triton's compiler start dozens.
    "compiler": r"(?:nvcc|ptxas|cicc|ld|as|cc1|cc1plus|gcc|g\+\+|clang|clang\+\+)\n|.*torch/_inductor/compile_worker",
    # gunicorn and nginx in front of the model.
    "master": r"(?:gunicorn|nginx): master",
    "shell": r"(?:sh|bash|dash|ash|busybox|tini|dumb-init)\n",
}
ROLES: Final = (MAIN, WORKER, *_NAMES, OTHER)
"""All there are: the label has no other value."""
_NAMED: Final = re.compile("|".join(f"(?P<{role}>{names})" for role, names in _NAMES.items()))
_LONGEST: Final = 512  # bytes of a command line that are looked at


def role(command: str, line: bytes) -> str:
    """The role of a process that is not the root.

    Args:
        command: its command name.
        line: its command line, each word ended by a zero byte; empty where it has none.
    """
    for text in (f"{command}\n", line[:_LONGEST].decode("utf-8", "backslashreplace")):
        found = _NAMED.match(text)
        if found is not None and found.lastgroup is not None:
            return found.lastgroup
    return WORKER
