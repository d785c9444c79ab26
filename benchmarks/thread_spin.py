"""How long should a thread of torch spin before it sleeps?

    python benchmarks/thread_spin.py --out reports/thread-spin.json

Trains a small image network with two threads, for several values of GOMP_SPINCOUNT in turn, first
on an idle machine, then beside one process that keeps a core busy. Run it when nothing else runs.
The default of `mmr/__init__.py` was chosen by it.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_DEFAULT = "of libgomp"
_COUNTS = (_DEFAULT, "0", "3000", "20000", "100000")
_WARM_UP = 3


def main() -> None:
    """Prints medians in milliseconds a step, by spin count."""
    options = _parse()
    if options.child:
        sys.stdout.write(f"{_step_ms(options.steps)}\n")
        return
    report = {"idle": _medians(options)}
    neighbour = multiprocessing.Process(target=_keep_busy, daemon=True)
    neighbour.start()
    report["beside one busy process"] = _medians(options)
    neighbour.terminate()
    text = json.dumps(report, indent=2)
    sys.stdout.write(f"{text}\n")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _medians(options: argparse.Namespace) -> dict[str, float]:
    """Of the rounds; each round tries every count once, so that all see the same machine."""
    seen: dict[str, list[float]] = {count: [] for count in _COUNTS}
    for _ in range(options.rounds):
        for count in _COUNTS:
            seen[count].append(_measure(count, options.steps))
    return {count: round(statistics.median(values), 1) for count, values in seen.items()}


def _measure(count: str, steps: int) -> float:
    environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    if count != _DEFAULT:
        environment["GOMP_SPINCOUNT"] = count
    command = [sys.executable, __file__, "--child", "--steps", str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def _step_ms(steps: int) -> float:
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(2)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.GELU()]
    layers += [nn.Conv2d(32, 64, 3, 2, 1), nn.GELU(), nn.Conv2d(64, 128, 3, 2, 1), nn.GELU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 384))
    optimizer = torch.optim.AdamW(model.parameters())
    pixels = torch.randn(64, 3, 64, 64)
    took = []
    for _ in range(steps + _WARM_UP):
        began = time.perf_counter()
        loss = model(pixels).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took[_WARM_UP:])


def _keep_busy() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
