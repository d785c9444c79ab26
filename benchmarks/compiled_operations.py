"""How many compiled operations should torch's CPU library keep?

    python benchmarks/compiled_operations.py data/prepared --vision models/vision
    python benchmarks/compiled_operations.py data/prepared --vision models/vision --steps 12

Trains stage C (batches of another size at each step) and stage A (always the same size) for some
steps each, in processes of their own, with several capacities of both caches (oneDNN's primitives
and torch's own), and prints JSON: the largest resident memory, and the median of a step. Features
and photographs are made first, once. Run it when nothing else runs. It decided `mmr/__init__.py`.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmr import stages
from mmr.config.run import load_settings
from mmr.training import loop

_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
_CAPACITIES = (1024, 128, 64, 16)  # the first one is the default of both
_WARM_UP = 3


def main() -> None:
    """Measures every capacity, or, as a child, one training."""
    options = _parse()
    if options.child:
        json.dump(_train(options), sys.stdout)
        return
    with tempfile.TemporaryDirectory() as cache:
        options.cache = options.cache or Path(cache)
        for stage in ("fusion", "vision"):  # makes what all share
            _measured(options, stage, _CAPACITIES[0], steps=1)
        report = {
            stage: {capacity: _measured(options, stage, capacity) for capacity in _CAPACITIES}
            for stage in ("fusion", "vision")
        }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="a prepared dataset")
    parser.add_argument("--vision", type=Path, required=True, help="a model of stage A")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--cache", type=Path, help="keeps features and photographs")
    parser.add_argument("--child", choices=["fusion", "vision"], help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(
    options: argparse.Namespace, stage: str, capacity: int, *, steps: int | None = None
) -> dict[str, float]:
    command = [sys.executable, __file__, str(options.dataset), "--vision", str(options.vision)]
    command += ["--preset", options.preset, "--steps", str(steps or options.steps)]
    command += ["--cache", str(options.cache), "--child", stage]
    environment = os.environ | {name: str(capacity) for name in _CACHES}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _train(options: argparse.Namespace) -> dict[str, float]:
    times: list[float] = []
    whole_step = loop._Run.step

    def timed(run: object, feed: object) -> None:
        start = time.perf_counter()
        whole_step(run, feed)  # type: ignore[arg-type]
        times.append(1000 * (time.perf_counter() - start))

    loop._Run.step = timed  # type: ignore[assignment, method-assign]
    settings = load_settings(options.preset)
    place = {"dataset": options.dataset, "cache": options.cache}
    changes = {"steps": options.steps, "passes": 0.0, "validate_every": options.steps}
    changes["patience"] = time.time_ns() % 2**31  # new settings: no model of before is reused
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model"
        for name in ("vision", "fusion"):
            part = getattr(settings, name)
            numbers = {"loop": part.loop.model_copy(update=changes), "only_if_better": False}
            numbers |= {"image_only_steps": 0} if name == "fusion" else {}
            settings = settings.model_copy(update={name: part.model_copy(update=numbers)})
        if options.child == "fusion":
            aligned = options.vision
            stages.train_fusion(aligned=aligned, out=out, settings=settings.fusion_stage, **place)
        else:
            stages.finetune_vision(
                text_only=options.vision, out=out, settings=settings.vision_stage, **place
            )
    return {
        "step_ms": round(statistics.median(times[_WARM_UP:] or times), 1),
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
