"""Multimodal product retrieval: everything that can be right or wrong by itself."""

import os

__version__ = "0.1.0"

# Read by torch's threads when they are loaded, so it has to stand here. A thread that waits for the
# others spins for milliseconds by default, which on cores that other work wants makes a training
# step two to three times as long: benchmarks/thread_spin.py.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# Read by torch too. Its CPU library keeps the last 1,024 operations that it compiled, each for one
# size of batch and with memory of its own; batches of products differ in size at every step, so a
# training held half a gigabyte of them after sixty steps. So few as these cost no time:
# benchmarks/compiled_operations.py.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "64")
