"""``pf-nvml``: the process that asks the drivers of GPUs. A call may hang for ever: then the agent ends it.

Neither numpy nor anything else of the agent is imported here (tests/gpu looks); a vendor's library only when its driver
was found. It gives way to everybody, and dies with the agent.
"""

from __future__ import annotations

import importlib
import os
import select
import socket
import sys
import time
import traceback
from typing import Final

from pilotfish_agent.gpu.backend import Backend, BackendError
from pilotfish_agent.gpu.wire import CODE_UNAVAILABLE, Began, Ended, Message, Orders, encode
from pilotfish_agent.launch.child import LARGEST
from pilotfish_agent.launch.settle import give_way, limit_memory, settle

FIRST_ORDERS_SECONDS: Final = 10.0
MODULES: Final = {"nvidia": "pilotfish_agent.gpu.nvml", "amd": "pilotfish_agent.gpu.amd"}
"""Each has ``make(library) -> Backend``."""
_ROOM: Final = 512 << 20
"""Bytes beyond what is mapped at the start: a driver's library that leaks must not take the model's memory."""


def main(fd: int) -> int:
    """Works until the socket closes. Returns the exit code: 0 done, `CODE_UNAVAILABLE`, 1 a fault.

    Args:
        fd: our end of the socketpair, SOCK_SEQPACKET.
    """
    settle("pf-nvml", os.getppid())
    give_way(10)
    connection = socket.socket(fileno=fd)
    try:
        orders = _orders(connection)
        if orders is None:
            return 0
        sys.path += [folder for folder in orders.path if folder not in sys.path]
        limit_memory(_ROOM)
        _work(orders, connection)
    except BackendError as error:
        _say(connection, Ended(error.reason, error.words))
        return CODE_UNAVAILABLE
    except ConnectionError:
        return 0  # the agent is gone
    except Exception as error:  # noqa: BLE001 - the last boundary: the agent is told why, and starts us anew
        traceback.print_exc()
        _say(connection, Ended("failed", f"{type(error).__name__}: {error}"))
        return 1
    return 0


def _work(orders: Orders, connection: socket.socket) -> None:
    """Reads all GPUs once an interval.

    Raises:
        BackendError: no driver can be asked.
        ConnectionError: the agent is gone.
    """
    connection.send(encode(Began("open")))
    backends = _open(orders)
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    following = time.monotonic()
    while True:
        connection.send(encode(Began("round")))
        gpus = [gpu for backend in backends for gpu in backend.read()]
        for gpu in gpus:
            connection.send(encode(gpu))
        connection.send(encode(Ended()))
        following = max(following + orders.interval, time.monotonic())
        if poller.poll(max(following - time.monotonic(), 0) * 1_000):
            return  # nothing more is ever said to us: the agent has closed its end


def _open(orders: Orders) -> list[Backend]:
    """Those that can be had.

    Raises:
        BackendError: none.
    """
    opened: list[Backend] = []
    refused: list[BackendError] = []
    for vendor in orders.vendors:
        backend: Backend = importlib.import_module(MODULES[vendor]).make(orders.driver_library)
        try:
            backend.open()
        except BackendError as error:
            refused.append(error)
        else:
            opened.append(backend)
    if not opened:
        raise BackendError(refused[0].reason, "; ".join(error.words for error in refused))
    return opened


def _orders(connection: socket.socket) -> Orders | None:
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if not poller.poll(FIRST_ORDERS_SECONDS * 1_000):
        return None
    try:
        return Orders.from_bytes(connection.recv(LARGEST))
    except (ValueError, OSError):
        return None


def _say(connection: socket.socket, message: Message) -> None:
    try:
        connection.send(encode(message))
    except OSError:
        pass  # the agent is gone
