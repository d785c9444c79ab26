"""Times a step of stage A with the whole frame and with the one trimmed to a shop's photographs.

    python benchmarks/trimmed_frame.py data/prepared
    python benchmarks/trimmed_frame.py data/prepared --rounds 9 --batch 128

Both take their steps in turn, on random pixels (what is read decides no time here), and JSON tells
the median milliseconds of each and the median ratio of neighbouring rounds.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mmr.config.model import VisionSettings
from mmr.config.run import load_settings
from mmr.data.dataset import Dataset
from mmr.models.precision import bf16_autocast, fast_matmuls
from mmr.models.vision import new_image_encoder
from mmr.stages.training_data import framed
from mmr.training.augment import augmented
from mmr.training.processes import accelerator


def main() -> None:
    """Runs the benchmark and prints its result."""
    options = _parse()
    settings = load_settings(options.preset)
    batch = options.batch or settings.vision.batch_size
    whole = settings.model.vision.model_copy(update={"trim": False})
    asked = whole.model_copy(update={"trim": True})
    frames = {"whole": whole, "trimmed": framed(asked, Dataset(options.dataset))}
    steps = {name: _step(vision, settings.model.dim, batch) for name, vision in frames.items()}
    for step in steps.values():  # the first ones compile
        step()
        step()
    times = [{name: _timed(step) for name, step in steps.items()} for _ in range(options.rounds)]
    report: dict[str, object] = {
        name: {
            "frame": f"{vision.height}x{vision.width}",
            "step_ms": round(1000 * statistics.median(row[name] for row in times), 1),
        }
        for name, vision in frames.items()
    }
    ratios = [row["trimmed"] / row["whole"] for row in times]
    report |= {"batch": batch, "ratio": round(statistics.median(ratios), 3)}
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="a prepared dataset")
    parser.add_argument("--preset", default="laptop", help="settings of the image tower")
    parser.add_argument("--batch", type=int, help="photographs a step; the preset's if absent")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each that are timed")
    return parser.parse_args()


def _step(vision: VisionSettings, dim: int, batch: int) -> Callable[[], None]:
    torch.manual_seed(0)
    device = accelerator().device
    encoder = new_image_encoder(vision)
    tower = nn.Sequential(encoder, nn.Linear(encoder.features, dim)).to(device).train()
    optimizer = torch.optim.AdamW(tower.parameters(), fused=device.type in {"cpu", "cuda"})
    shape = (batch, 3, vision.height, vision.width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)

    def step() -> None:
        with fast_matmuls():
            with bf16_autocast(device):
                output = tower(augmented(pixels))
            loss = output.float().square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
        optimizer.step()
        loss.item()  # waits for an accelerator

    return step


def _timed(step: Callable[[], None]) -> float:
    begin = time.perf_counter()
    step()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
