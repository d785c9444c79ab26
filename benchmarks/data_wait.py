"""Measures the data path of image training: decoding, memory, and the share of time spent waiting.

    python benchmarks/data_wait.py data/prepared
    python benchmarks/data_wait.py data/prepared --pixels 224 --steps 20 --cache workspace/cache

Trains stage A's image tower for some steps on the dataset's own photographs, with random vectors in
place of the texts' (they cost no time and decide no waiting), and prints JSON: seconds of
decoding, milliseconds to read a batch, `data_wait_share` as training logs it, and this process's
resident memory. With `--cache` the decoded photographs are kept, and found again.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mmr.config.model import ModelSettings
from mmr.config.run import load_settings
from mmr.config.training import VisionStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import new_text_retriever
from mmr.stages.training_data import framed, open_catalogue, open_judged
from mmr.training.figures import Figures
from mmr.training.loop import fit
from mmr.training.objectives import TrainingInputs, VisionObjective
from mmr.training.processes import accelerator
from mmr.training.text_source import KeptText


def main() -> None:
    """Runs the benchmark and prints its result."""
    options = _parse()
    if options.cache:
        report = _measure(options, options.cache)
    else:
        with tempfile.TemporaryDirectory() as cache:
            report = _measure(options, Path(cache))
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="a prepared dataset")
    parser.add_argument("--preset", default="laptop", help="settings of the image tower")
    parser.add_argument(
        "--pixels", type=int, help="side of the frame, before it is trimmed; the preset's if absent"
    )
    parser.add_argument("--batch", type=int, help="products a step; the preset's if absent")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--cache", type=Path, help="keeps decoded photographs")
    return parser.parse_args()


def _measure(options: argparse.Namespace, cache: Path) -> dict[str, object]:
    dataset = Dataset(options.dataset)
    settings = _settings(options, dataset)
    kept = list(cache.glob("photographs/*"))
    start = time.perf_counter()
    catalogue = open_catalogue(dataset, vision=settings.model.vision, cache=cache)
    decoding_s = time.perf_counter() - start
    decoded = list(cache.glob("photographs/*")) != kept
    retriever = new_text_retriever(settings.model).to(accelerator().device)
    retriever.with_images()
    features = torch.randn(len(catalogue), retriever.text_encoder.hidden)
    judged = open_judged(dataset, "train")
    inputs = TrainingInputs(catalogue, judged, KeptText(features, features))
    objective = VisionObjective(retriever, inputs, settings)
    reading = []
    for step in range(10):
        start = time.perf_counter()
        objective.batch(step)
        reading.append(time.perf_counter() - start)
    retriever.requires_grad_(False)
    parts = [retriever.image_encoder, retriever.image_head, objective.scale]
    groups = [
        {"params": list(part.requires_grad_(True).parameters()), "lr": 1e-3} for part in parts
    ]
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            retriever,
            objective,
            parameters=groups,
            validate=Figures.none_yet,
            settings=settings.stage.loop,
            seed=settings.seed,
            checkpoint=Path(folder) / "checkpoint.pt",
            description="stage A",
        )
    return {
        "products": len(catalogue),
        "pixels": [settings.model.vision.height, settings.model.vision.width],
        "batch": settings.stage.batch_size,
        "steps": result.steps,
        "decoding_s": round(decoding_s, 2) if decoded else "found in the cache",
        "read_batch_ms": round(1000 * float(np.median(reading)), 2),
        "data_wait_share": round(result.data_wait_share, 4),
        "resident_mib": _resident_mib(),
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _settings(options: argparse.Namespace, dataset: Dataset) -> VisionStageSettings:
    stage = load_settings(options.preset).vision_stage
    steps = options.steps
    vision, image_stage = stage.model.vision, stage.stage
    if options.pixels:
        vision = vision.model_copy(update={"height": options.pixels, "width": options.pixels})
    vision = framed(vision, dataset)
    loop = image_stage.loop.model_copy(
        update={"steps": steps, "validate_every": 10 * steps, "checkpoint_every": 10 * steps}
    )
    changes: dict[str, object] = {"loop": loop}
    if options.batch:
        changes["batch_size"] = options.batch
    model = ModelSettings.model_validate(stage.model.model_dump() | {"vision": vision.model_dump()})
    return stage.model_copy(
        update={"model": model, "stage": image_stage.model_copy(update=changes)}
    )


def _resident_mib() -> dict[str, int]:
    """Rss counts pages shared with other processes whole, Pss by share."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines[1:])
    return {name.lower(): int(fields[name].split()[0]) // 1024 for name in ("Rss", "Pss")}


if __name__ == "__main__":
    main()
