"""Multimodal product retrieval: everything that can be right or wrong by itself."""

import os

__version__ = "0.1.0"

# Read by torch's threads when they are loaded, so it has to stand here. A thread that waits for the
# others spins for milliseconds by default, which on cores that other work wants makes a training
# step two to three times as long: benchmarks/thread_spin.py.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
