"""Memory that was freed goes back to the system, where the C library would keep it."""

from __future__ import annotations

import ctypes
import gc


def return_freed_memory() -> None:
    """Returns what was freed; where the C library has no `malloc_trim` (all but glibc), nothing.

    A training frees gigabytes in blocks of a few megabytes, which glibc keeps for later. Several
    trainings in one process then hold what only one of them needs (docs/training.md, "Waiting for
    data").
    """
    gc.collect()  # frees what refers to itself
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
