"""Memory allocation of a process that computes on a CPU."""

from __future__ import annotations

import ctypes
import os
import platform

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # numbers of glibc's mallopt
_USERS_OWN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # a user who sets these has chosen an allocator


def keep_freed_memory() -> bool:
    """Keep freed memory in this process, for its next allocations.

    A training step allocates and frees maps of a hundred megabytes. glibc returns each to the system and requests it
    again, page by page, filled with zeros: a twelfth of a step on two virtual cores (docs/profile.md#freed-memory).

    Returns:
        Whether it works: not with another C library, nor where an environment variable configures the allocator.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(_USERS_OWN) for name in os.environ):
        return False
    allocator = ctypes.CDLL(None)
    in_one_heap = allocator.mallopt(_MMAP_MAX, 0)  # no mapping of its own, however large the block
    never_back = allocator.mallopt(_TRIM_THRESHOLD, -1)
    return bool(in_one_heap and never_back)
