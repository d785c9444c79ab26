"""Measures contrastive training of an image and a text tower: samples per second and MFU.

    python benchmarks/train_throughput.py
    python benchmarks/train_throughput.py --models vit-b-32 --batch 512 --compile
    python benchmarks/train_throughput.py --models tiny --batch 8 --steps 4

Both towers learn from pairs of a 224 px image and a text of 77 tokens, in the sizes of CLIP's
ViT-B/32 and ViT-B/16, through the training loop of mmr: photographs from disk, bf16, gradient
clipping, AdamW. When open_clip is installed, its model of the same size takes the same steps
beside it, from images that lie in memory. Prints JSON.

MFU (model FLOP utilisation) is the FLOPs that the model needs for a sample, times samples per
second, by the peak of the device. Recomputed or padded work does not count.
"""

import argparse
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tower_sizes import SIZES, Size
from transformers import CLIPTextConfig, CLIPTextModel, ViTConfig, ViTModel

from mmr.config.model import VisionSettings
from mmr.config.training import LoopSettings
from mmr.data.pixels import PixelStore
from mmr.models.precision import bf16_autocast
from mmr.models.text import TextEncoder
from mmr.models.vision import ImageEncoder
from mmr.training.figures import Figures
from mmr.training.loop import fit
from mmr.training.losses import pair_contrastive_loss
from mmr.training.processes import accelerator, gathered, own_part

_WARM_UP = 3  # steps that are not counted
_PHOTOGRAPHS = 1024
# Dense bf16 peaks in TFLOP/s, from NVIDIA's data sheets (without sparsity).
_PEAKS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121}


class Towers(nn.Module):
    """The project's own encoders with a projection each, and a learnt scale."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        vision = ViTConfig(
            hidden_size=size.image.width,
            num_hidden_layers=size.image.layers,
            num_attention_heads=max(1, size.image.width // 64),
            intermediate_size=4 * size.image.width,
            image_size=size.pixels,
            patch_size=size.patch,
        )
        text = CLIPTextConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.text.width,
            num_hidden_layers=size.text.layers,
            num_attention_heads=max(1, size.text.width // 64),
            intermediate_size=4 * size.text.width,
            max_position_embeddings=size.text.tokens,
            bos_token_id=size.vocabulary - 2,
            eos_token_id=size.vocabulary - 1,
        )
        settings = VisionSettings(height=size.pixels, width=size.pixels, colour_bins=0)
        self.image = ImageEncoder(ViTModel(vision, add_pooling_layer=False), settings)
        self.text = TextEncoder(CLIPTextModel(text), None, pooling="mean")
        self.image_head = nn.Linear(size.image.width, size.dim, bias=False)
        self.text_head = nn.Linear(size.text.width, size.dim, bias=False)
        self.scale = nn.Parameter(torch.tensor(14.0))


class Pairs:
    """Random photographs from a store and random texts; notes when each step's loss begins."""

    def __init__(self, towers: Towers, size: Size, store: PixelStore, *, batch: int) -> None:
        self._towers, self._size, self._store, self._batch = towers, size, store, batch
        self.began: list[float] = []

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Pixels and tokens of this process's part of a step."""
        random = np.random.default_rng(step)
        rows = own_part(random.integers(0, len(self._store), self._batch))
        pixels = torch.from_numpy(self._store[rows]).permute(0, 3, 1, 2)
        words = random.integers(0, self._size.vocabulary - 2, (self._batch, self._size.text.tokens))
        tokens = torch.from_numpy(own_part(words))
        on_gpu = accelerator().device.type == "cuda"
        return (pixels.pin_memory(), tokens.pin_memory()) if on_gpu else (pixels, tokens)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """CLIP's loss."""
        self.began.append(time.perf_counter())
        device, towers = accelerator().device, self._towers
        pixels, tokens = (part.to(device, non_blocking=True) for part in batch)
        image = towers.image_head(towers.image(pixels))
        text = towers.text_head(towers.text(tokens, torch.ones_like(tokens)))
        left, right = (
            gathered(F.normalize(part, dim=-1), rows=self._batch) for part in (image, text)
        )
        same = torch.eye(self._batch, dtype=torch.bool, device=device)
        return pair_contrastive_loss(left, right, same, scale=towers.scale)


def main() -> None:
    """Runs the benchmark and prints its result."""
    options = _parse()
    device = accelerator().device
    peak, source = _peak(device, options.peak_tflops)
    report: dict[str, object] = {
        "device": _device_name(device),
        "processes": accelerator().num_processes,
        "peak_tflops": round(peak / 1e12, 2),
        "peak_from": source,
        "batch": options.batch,
        "steps": options.steps,
        "compile": options.compile,
        "models": {},
    }
    for name in options.models:
        report["models"][name] = _compare(SIZES[name], options, peak * accelerator().num_processes)
    if accelerator().is_main_process:
        json.dump(report, sys.stdout, indent=2)
        sys.stdout.write("\n")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["vit-b-32", "vit-b-16"])
    parser.add_argument("--batch", type=int, default=256, help="pairs a step, of all processes")
    parser.add_argument("--steps", type=int, default=30, help="counted steps")
    parser.add_argument("--compile", action="store_true", help="torch.compile, for both sides")
    parser.add_argument("--peak-tflops", type=float, help="of the device, dense, in bf16")
    return parser.parse_args()


def _compare(size: Size, options: argparse.Namespace, peak: float) -> dict[str, object]:
    seconds, wait = _ours(size, options)
    figures: dict[str, object] = {
        "gflop_a_sample": round(size.step_flops() / 1e9, 3),
        "mmr": _figures(seconds, size, options.batch, peak) | {"data_wait_share": round(wait, 4)},
    }
    if size.open_clip is None:
        figures["open_clip"] = "has no model of this size"
    elif find_spec("open_clip") is None:
        figures["open_clip"] = "not installed (pip install open_clip_torch): not measured"
    else:
        figures["open_clip"] = _figures(_theirs(size, options), size, options.batch, peak)
    return figures


def _figures(seconds: list[float], size: Size, batch: int, peak: float) -> dict[str, float]:
    median = statistics.median(seconds)
    rate = batch / median
    return {
        "samples_per_s": round(rate, 2),
        "step_ms": round(1000 * median, 2),
        "mfu": round(rate * size.step_flops() / peak, 4),
    }


def _ours(size: Size, options: argparse.Namespace) -> tuple[list[float], float]:
    """Seconds of each counted step, and the share of time spent waiting for data."""
    torch.manual_seed(0)
    towers = Towers(size).to(accelerator().device)
    steps = _WARM_UP + options.steps + 1
    loop = LoopSettings(
        steps=steps,
        validate_every=10 * steps,
        checkpoint_every=10 * steps,
        compile=options.compile,
    )
    with tempfile.TemporaryDirectory() as folder:
        file, shape = Path(folder) / "pixels.bin", (_PHOTOGRAPHS, size.pixels, size.pixels, 3)
        with file.open("wb") as out:
            for row in range(_PHOTOGRAPHS):
                out.write(np.random.default_rng(row).bytes(size.pixels**2 * 3))
        objective = Pairs(towers, size, PixelStore(file, shape), batch=options.batch)
        result = fit(
            towers,
            objective,
            parameters=[{"params": list(towers.parameters()), "lr": 1e-5}],
            validate=Figures.none_yet,
            settings=loop,
            seed=0,
            checkpoint=Path(folder) / "checkpoint.pt",
            description="mmr",
        )
    return _intervals(objective.began), result.data_wait_share


def _theirs(size: Size, options: argparse.Namespace) -> list[float]:
    """Seconds of each counted step of open_clip's model of the same size."""
    import open_clip

    device = accelerator().device
    torch.manual_seed(0)
    model = open_clip.create_model(size.open_clip).to(device).train()
    forward: Callable[..., tuple[Tensor, ...]] = torch.compile(model) if options.compile else model
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device.type == "cuda")
    images = torch.randn(options.batch, 3, size.pixels, size.pixels)
    texts = torch.randint(0, size.vocabulary - 2, (options.batch, size.text.tokens)).to(device)
    images = images.to(device, memory_format=torch.channels_last)
    began = []
    for _ in range(_WARM_UP + options.steps + 1):
        began.append(time.perf_counter())
        with bf16_autocast(device):
            image, text, scale = forward(images, texts)
            loss = loss_of(image, text, scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        float(loss.detach())
    return _intervals(began)


def _intervals(began: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(began)][_WARM_UP:]


def _peak(device: torch.device, stated_tflops: float | None) -> tuple[float, str]:
    """The device's peak in FLOP/s, and where that number is from."""
    if stated_tflops:
        return stated_tflops * 1e12, "--peak-tflops"
    name = _device_name(device)
    for card, tflops in _PEAKS.items():
        if device.type == "cuda" and card in name:
            return tflops * 1e12, "data sheet, dense bf16"
    return _matmul_flops(device), "measured here: a product of two matrices"


def _matmul_flops(device: torch.device) -> float:
    side = 8192 if device.type == "cuda" else 1024
    left, right = torch.randn(side, side, device=device), torch.randn(side, side, device=device)
    best = float("inf")
    with bf16_autocast(device), torch.no_grad():
        for _ in range(5):
            start = time.perf_counter()
            float((left @ right)[0, 0])
            best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
