"""Watchdog of a run's processes: when one dies, the others end within seconds and name it.

torchrun watches over its own processes, but Slurm and submitit do not. Each process keeps a connection to rank 0. The
system closes it when either end dies, and its keepalive probes detect a lost node.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from mammorisk.system.printing import print_error

_PROBES = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # s, s, count: a lost node is detected in 30 s
_SECONDS = 60.0  # to connect
GRACE_SECONDS = 2.0  # seconds that a process waits for the name of the dead process that broke an exchange
_GOODBYE = "goodbye"
_connections: dict[int, socket.socket] = {}  # rank of the other end -> connection
_ending = threading.Event()


def watch_over_processes(store: Any, rank: int, world_size: int) -> None:
    """Connect this process with rank 0, and end this process when any other dies. Collective.

    Args:
        store: torch's key-value store of the run.
        rank: of this process.
        world_size: number of processes.
    """
    _ending.clear()
    store.set(f"watch/name/{rank}", f"rank {rank} (process {os.getpid()} on {socket.gethostname()})")
    if rank == 0:
        _receive_all(store, world_size)
    else:
        port, token = store.get("watch/port").decode().split()
        address = os.environ.get("MASTER_ADDR", "localhost")
        connection = socket.create_connection((address, int(port)), timeout=_SECONDS)
        _send_line(connection, f"{token} {rank}")
        _connections[0] = connection
    for other, connection in _connections.items():
        name = store.get(f"watch/name/{other}").decode()
        connection.settimeout(None)
        _probe(connection)
        threading.Thread(target=_listen, args=(connection, name), daemon=True).start()


def announce_exit() -> None:
    """Announce the regular end of this process to the others."""
    _ending.set()
    for connection in _connections.values():
        _send_line(connection, _GOODBYE)
        connection.close()
    _connections.clear()


def wait_for_peer_failure() -> None:
    """Wait a moment after an exception: if a dead process broke the exchange, the watchdog reports that and exits.

    Afterwards this process ends by its own exception, and the others detect its death.
    """
    if _connections:
        time.sleep(GRACE_SECONDS)
        _ending.set()


def _receive_all(store: Any, world_size: int) -> None:
    token = secrets.token_hex(16)  # to refuse connections of other programs
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    with socket.create_server(("", 0), family=family, dualstack_ipv6=dual, backlog=world_size) as server:
        server.settimeout(_SECONDS)
        store.set("watch/port", f"{server.getsockname()[1]} {token}")
        while len(_connections) < world_size - 1:
            connection, _ = server.accept()
            received, _, rank = _receive_line(connection).partition(" ")
            if received == token:
                _connections[int(rank)] = connection
            else:
                connection.close()


def _listen(connection: socket.socket, name: str) -> None:
    line = _receive_line(connection)
    if line == _GOODBYE or _ending.is_set():
        return
    _ending.set()
    dead = line or name  # rank 0 reports another process's death, or has died itself
    for other in _connections.values():
        _send_line(other, dead)
    print_error(
        f"\n{dead} has died, so this run ends.\nIts own output gives the reason (Slurm's sacct shows whether memory "
        "ran out). With trainer.resume_from=auto the run goes on from its last checkpoint."
    )
    os._exit(1)  # the main thread may wait for the dead process forever


def _send_line(connection: socket.socket, line: str) -> None:
    with suppress(OSError):  # the other end is closed
        connection.sendall(f"{line}\n".encode())


def _receive_line(connection: socket.socket) -> str:
    """Receive the next line; "" if the other end is closed."""
    with suppress(OSError), connection.makefile("r", encoding="utf-8") as lines:
        return lines.readline().strip()
    return ""


def _probe(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
