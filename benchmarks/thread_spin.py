"""How long should a thread that waits for others spin before it sleeps?

    python benchmarks/thread_spin.py --out reports/thread-spin.json
    python benchmarks/thread_spin.py --release workspace/releases/ID

Trains a small image network with two threads of torch, for several GOMP_SPINCOUNT in turn,
first on an idle machine, then beside one process that keeps a core busy. With `--release`, the
same for its query encoder in ONNX Runtime: one thread, two that spin, and two that sleep. Run it
when nothing else runs. It decided `mmr/__init__.py` and `mmr/release/query_encoder.py`.
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

import numpy as np
import onnxruntime

_DEFAULT = "of libgomp"
_COUNTS = (_DEFAULT, "0", "3000", "20000", "100000")
_WAYS = {  # threads, whether they spin, whether they stop spinning at the end of a query
    "1 thread": (1, "0", "0"),
    "2 that spin": (2, "1", "0"),
    "2 that spin within a query": (2, "1", "1"),
    "2 that sleep": (2, "0", "0"),
}
_WARM_UP = 3
_PAUSE_S = 0.003  # between queries, as customers leave some


def main() -> None:
    """Prints milliseconds: medians of a training step, or p50 and p99 of a query."""
    options = _parse()
    if options.child:
        sys.stdout.write(f"{_step_ms(options.steps)}\n")
        return
    measure = _encoder_ms if options.release else _medians
    report = {"idle": measure(options)}
    neighbour = multiprocessing.Process(target=_keep_busy, daemon=True)
    neighbour.start()
    report["beside one busy process"] = measure(options)
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
    parser.add_argument("--release", type=Path, help="measure its query encoder instead")
    parser.add_argument("--queries", type=int, default=300, help="of a round, with --release")
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


def _encoder_ms(options: argparse.Namespace) -> dict[str, list[float]]:
    """p50 and p99 of one short query, over all rounds; the ways take turns in each round."""
    sessions = {name: _session(options.release, *way) for name, way in _WAYS.items()}
    tokens = {name: np.ones((1, 5), dtype=np.int64) for name in ("input_ids", "attention_mask")}
    seen: dict[str, list[float]] = {name: [] for name in _WAYS}
    for _ in range(options.rounds):
        for name, session in sessions.items():
            for query in range(options.queries + _WARM_UP):
                began = time.perf_counter()
                session.run(None, tokens)
                took = 1000 * (time.perf_counter() - began)
                if query >= _WARM_UP:
                    seen[name].append(took)
                time.sleep(_PAUSE_S)
    return {
        name: [round(float(np.percentile(took, share)), 1) for share in (50, 99)]
        for name, took in seen.items()
    }


def _session(release: Path, threads: int, spins: str, stops: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", spins)
    options.add_session_config_entry("session.force_spinning_stop", stops)
    file = release / "query_encoder" / "encoder.onnx"
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _keep_busy() -> None:
    while True:
        pass


if __name__ == "__main__":
    main()
