"""Several seeds of a ladder at once, each climbed by a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import torch

from mmr.ablation.climb import Climb, LadderRequest, ladder_context
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError, MmrError


def climb_side_by_side(
    request: LadderRequest,
    path: Path,
    *,
    cache: Path,
    seeds: list[int],
    show: Callable[[str], None],
) -> None:
    """Trains and measures all rungs of some seeds, so that a climb after it finds all of it kept.

    A stage uses a second core badly, as its matrices are small (docs/ablation.md, "Several seeds at
    once"). What several seeds need, such as features of a frozen encoder, one process makes and the
    others wait for.

    Args:
        request: What was asked for; its `jobs` are the processes.
        path: The prepared dataset.
        cache: The workspace's cache.
        seeds: Seeds to climb.
        show: Called with a line when a seed ended with an error; the others go on.

    Raises:
        MmrError: The first error of a seed, after the others have ended.
        ArtifactError: A process was killed.
    """
    # Not fork: torch runs threads that a forked child would find locked.
    context = multiprocessing.get_context("spawn")
    processes = min(request.jobs, len(seeds))
    failed: MmrError | None = None
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(_threads(processes),)
    ) as pool:
        pending = {pool.submit(_climb_seed, request, path, cache, seed): seed for seed in seeds}
        try:
            for ended in as_completed(pending):
                try:
                    ended.result()
                except MmrError as error:
                    show(f"seed {pending[ended]} ended with an error, others go on: {error}")
                    failed = failed or error
        except BrokenProcessPool as error:
            raise ArtifactError(
                "A process that climbed a seed was killed, most likely for memory. Run the same "
                "command with fewer --jobs; it goes on where it stopped."
            ) from error
        except BaseException:  # such as Ctrl-C: the pool would wait for seeds of an hour
            for process in multiprocessing.active_children():
                process.terminate()
            raise
    if failed:
        raise failed


def _threads(processes: int) -> int:
    """The share of the cores that one of several processes has, at least one."""
    return max(1, len(os.sched_getaffinity(0)) // processes)


def _climb_seed(request: LadderRequest, path: Path, cache: Path, seed: int) -> None:
    alone = request.settings.model_copy(update={"seed": seed})
    request = replace(request, settings=alone, seeds=1, jobs=1)
    context = ladder_context(request, Dataset(path))
    Climb(request, context, path, cache, _tell).measured()


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _begin(threads: int) -> None:
    """Makes a process one of several: its share of the cores, lines in place of live bars."""
    os.environ["TERM"] = "dumb"
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once the command is gone, however it went; what is kept is whole."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
