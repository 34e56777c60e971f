from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from mammorisk.training.cpu_allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
b"x" * 2**26
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    b"x" * 2**26
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 4 * 2**26 // os.sysconf("SC_PAGE_SIZE")  # of four times 64 MB


def faults(how: str, **variables: str) -> list[str]:
    """What a process says of keeping, and how often it had to ask for a page while it took and freed four maps."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    command = [sys.executable, "-c", FAULTS, how]
    return subprocess.run(
        command, env=environment | variables, check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own")
def test_freed_memory_is_used_again():
    _, without = faults("leave")
    assert int(without) > PAGES // 1000  # pages may be large ones
    kept, asked = faults("keep")
    assert kept == "True"
    assert int(asked) < int(without) // 20


def test_who_chose_an_allocation_keeps_it():
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
