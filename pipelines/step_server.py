"""The process that steps of a local run are forked off: it has imported what they use.

Started by `pipelines.forked_steps` as `python -m pipelines.step_server CONTROL`, where CONTROL is
the number of an inherited socket. It says `ready` there once everything is imported. Each message
that follows names a file with a step's request and brings the end of a pipe for its output; it is
answered with the step's exit status. The process ends with the one that started it.

Steps are apart as ever: each has a process of its own, in which nothing but imports has happened.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import sys
import warnings
from importlib import import_module
from pathlib import Path

READY = b"ready"
_LIBRARIES = (
    "kfp.dsl.executor_main",
    "components.step",
    "mmr.tracking.mlflow_tracking",
    "onnxruntime",
    "scipy.stats",
    "serving.deploy",
    "torch.onnx",
    "transformers",
)


def main() -> int:
    """Serves until the other end of the socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the step and who started us are told too
    import_libraries()
    if _has_gpu():
        return 0
    try:
        control.send(READY)
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
            if not message:
                return 0
            status = _forked(control, Path(message.decode()), output=descriptors[0])
            control.send(str(status).encode())
    except ConnectionError:
        return 0  # who started us is gone


def _forked(control: socket.socket, request: Path, *, output: int) -> int:
    """Runs a step in a process of its own; its exit status, below 0 the signal that ended it.

    It ends as processes of `multiprocessing` do, without the destructors of C++ libraries, whose
    threads stayed here.
    """
    step = multiprocessing.get_context("fork").Process(
        target=_run, args=(control, request, output), daemon=False
    )
    step.start()
    os.close(output)
    step.join()
    return int(step.exitcode or 0)


def import_libraries() -> None:
    """Imports what steps use, without running anything of it."""
    from mmr import stages
    from mmr.data.validation_engine import import_great_expectations
    from mmr.tracking.connection import import_mlflow

    import_mlflow()
    import_great_expectations()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in _LIBRARIES:
            import_module(library)
        for stage in stages.__all__:
            getattr(stages, stage)


def _has_gpu() -> bool:
    """What CUDA sets up, if only to count its devices, does not survive a fork."""
    import torch

    return torch.cuda.is_available()


def _run(control: socket.socket, request: Path, output: int) -> None:
    """Does what the command line of a step would do, in the child."""
    from kfp.dsl.executor_main import executor_main

    control.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()  # or every step would draw the numbers of the one before
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    asked = json.loads(request.read_text(encoding="utf-8"))
    os.environ.update(asked["environment"])
    sys.argv = [str(Path(__file__)), *asked["arguments"]]
    executor_main()


if __name__ == "__main__":
    raise SystemExit(main())
