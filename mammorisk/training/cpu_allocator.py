"""Memory of a process that computes on a CPU."""

from __future__ import annotations

import ctypes
import os
import platform

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # numbers of glibc's mallopt
_USERS_OWN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # whoever sets these has chosen


def keep_freed_memory() -> bool:
    """Have this process keep what it frees, and use it again, until it ends.

    A training step takes and frees maps of a hundred megabytes. glibc gives each back to the system and gets it anew,
    page by page, zeros first: a twelfth of a step on two virtual cores (docs/profile.md).

    Returns:
        Whether it does: not with another C library, nor where an environment variable tells how to allocate.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith(_USERS_OWN) for name in os.environ):
        return False
    allocator = ctypes.CDLL(None)
    in_one_heap = allocator.mallopt(_MMAP_MAX, 0)  # nothing apart, however large
    never_back = allocator.mallopt(_TRIM_THRESHOLD, -1)
    return bool(in_one_heap and never_back)
