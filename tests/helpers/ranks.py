"""Run of a function in several gloo processes, as a launcher starts them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import torch

from helpers.forked_commands import SERVER
from mammorisk.distributed.launch import end_processes
from mammorisk.runs.start import start_processes

SECONDS = 60


def on_ranks(task: Callable[[], Any], world: int = 2) -> list[Any]:
    """Run ``task`` (of a module's top level) on each rank and return the results; a rank that hangs or dies fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends = [SERVER.Pipe(duplex=False) for _ in range(world)]
    processes = [
        SERVER.Process(target=_rank, args=(task, rank, world, port, dict(os.environ), ends[rank][1]))
        for rank in range(world)
    ]
    for process, (_, sender) in zip(processes, ends, strict=True):
        process.start()
        sender.close()  # so that the death of a rank is detected
    try:
        return [_received(receiver, process) for (receiver, _), process in zip(ends, processes, strict=True)]
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def _received(receiver: Any, process: Any) -> Any:
    assert receiver.poll(SECONDS), f"{process.name} hangs"
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"{process.name} died with exit status {process.exitcode}") from None


def _rank(task: Callable[[], Any], rank: int, world: int, port: int, environment: dict[str, str], sender: Any) -> None:
    os.environ.update(environment)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1")
    torch.set_num_threads(1)
    start_processes()
    result = task()
    end_processes()
    sender.send(result)
