"""What was freed goes back to the system, or several trainings hold what only one needs."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import resource
import numpy as np
from mmr.memory import return_freed_memory

def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20

large = np.ones(2**20)
del large  # from now on glibc takes blocks of up to 8 MiB from its heap, and keeps them there
blocks = [np.ones(2**17) for _ in range(300)]  # of 1 MiB
above = np.ones(2**17)  # in use, so the heap cannot shrink by itself
del blocks
before = resident()
return_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="only glibc keeps what was freed, and has malloc_trim",
)
def test_what_the_c_library_keeps_of_freed_blocks_is_returned() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) > 250  # MiB


@pytest.mark.parametrize(
    ("of_user", "expected"), [({}, "64"), ({"LRU_CACHE_CAPACITY": "1024"}, "1024")]
)
def test_torch_keeps_few_compiled_operations_unless_the_user_wants_more(
    of_user: dict[str, str], expected: str
) -> None:
    ours = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {k: v for k, v in os.environ.items() if k not in ours} | of_user
    told = f"import mmr, os; print(*(os.environ.get(name) for name in {ours!r}))"

    done = subprocess.run(
        [sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["64", expected]
