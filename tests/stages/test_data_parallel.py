"""Two processes train as one: same batches, same losses, same weights (gloo, on the CPU)."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mmr import stages
from mmr.config.run import RunSettings
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.stage_report import Adoption

pytestmark = pytest.mark.timeout(900)  # processes that wait for each other, on a busy machine
NAMES = ("text", "vision", "aligned", "fused")


def exact(settings: RunSettings) -> RunSettings:
    """The settings without what each process draws for itself, and without bf16's rounding."""
    plain = settings.model_dump(mode="json")
    plain["model"]["dropout"] = 0.0
    for stage in ("text_only", "vision", "align", "fusion"):
        plain[stage]["loop"] |= {"steps": 6, "validate_every": 2, "bf16": False}
    for stage in ("vision", "align"):
        plain[stage]["augment"] = False
    plain["vision"]["batch_size"] = 31  # does not divide by two
    plain["align"]["text_learning_rate"] = 1e-3
    plain["fusion"] |= {"text_dropout": 0.0, "image_dropout": 0.0, "text_learning_rate": 1e-3}
    plain["fusion"]["image_only_steps"] = 6
    plain["fusion"]["techniques"] |= {
        "masking": {"same_text": True, "guide_margin": 0.1},
        "keyword_enhancement": {"enrichment": 0.5},
        "hard_negatives": {"count": 2, "depth": 6},  # mined at step 0, drawn from step 3
        "query_text": {"wordings": 2},
    }
    plain["fusion"]["text_answers"] = {"weight": 0.5, "titles": 30, "depth": 6, "batch": 7}
    plain["fusion"]["loop"]["ema_decay"] = 0.5
    return RunSettings.model_validate(plain)


def train_all(dataset: Path, root: Path, settings: RunSettings) -> None:
    models = {name: root / name for name in NAMES}
    stages.train_text_only(
        dataset=dataset, out=models["text"], settings=settings.text_only_stage, cache=root / "cache"
    )
    stages.finetune_vision(
        dataset=dataset,
        text_only=models["text"],
        out=models["vision"],
        settings=settings.vision_stage,
        cache=root / "cache",
    )
    stages.align_queries(
        dataset=dataset,
        vision=models["vision"],
        out=models["aligned"],
        settings=settings.align_stage,
        cache=root / "cache",
    )
    stages.train_fusion(
        dataset=dataset,
        aligned=models["aligned"],
        out=models["fused"],
        settings=settings.fusion_stage,
        cache=root / "cache",
    )


def train_as_one_of(
    index: int, count: int, port: int, dataset: Path, root: Path, settings: RunSettings
) -> None:
    """What each process does that `accelerate launch` starts."""
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    train_all(dataset, root, settings)
    # 16 rows here, 15 there; and both processes train and await what proves the stage
    vision = settings.vision.model_copy(update={"images_at_once": 15, "only_if_better": True})
    stages.finetune_vision(
        dataset=dataset,
        text_only=root / "text",
        out=root / "in-parts",
        settings=settings.model_copy(update={"vision": vision}).vision_stage,
        cache=root / "cache",
    )
    torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture(scope="module")
def one_and_two(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """All stages trained by one process, and by two."""
    settings = exact(tiny_settings)
    root = tmp_path_factory.mktemp("parallel")
    context, port = multiprocessing.get_context("spawn"), free_port()
    processes = [
        context.Process(
            target=train_as_one_of, args=(index, 2, port, tiny_dataset, root / "two", settings)
        )
        for index in range(2)
    ]
    for process in processes:
        process.start()
    train_all(tiny_dataset, root / "one", settings)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return root / "one", root / "two"


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_have_the_losses_and_quality_of_one(
    one_and_two: tuple[Path, Path], name: str
) -> None:
    one, two = (json.loads((root / name / "training.json").read_text()) for root in one_and_two)
    assert len(one["history"]) == 3 * (NAMES.index(name) + (2 if name == "fused" else 1))
    for expected, found in zip(one["history"], two["history"], strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
        assert found["ndcg_at_10"] == pytest.approx(expected["ndcg_at_10"], abs=5e-3)


def test_processes_whose_rows_fall_into_parts_differently_stay_in_step(
    one_and_two: tuple[Path, Path],
) -> None:
    record = json.loads((one_and_two[1] / "in-parts" / "training.json").read_text())

    assert record["steps"] == 6
    assert all(math.isfinite(entry["loss"]) for entry in record["history"])
    found = Adoption.of(record["adoptions"]["finetune_vision"])
    for figures in (found.before, found.after):
        assert all(0 <= value <= 1 for value in figures.named().values())


def test_the_documented_command_trains_over_two_processes(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    preset = tmp_path / "settings.yaml"
    preset.write_text(yaml.safe_dump(exact(tiny_settings).model_dump(mode="json")))
    command = "accelerate launch --multi_gpu --num_processes 2 -m mmr train text-only"
    documented = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    assert command in documented

    launched = subprocess.run(
        [
            sys.executable,
            *["-m", "accelerate.commands.accelerate_cli", *command.split()[1:5]],
            *["--main_process_port", str(free_port()), *command.split()[5:]],
            *[str(tiny_dataset), "--out", str(tmp_path / "text")],
            *["--preset", str(preset), "--workspace", str(tmp_path / "workspace")],
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("text_only: validation NDCG@10") == 1
    record = json.loads((tmp_path / "text" / "training.json").read_text())
    assert record["steps"] == 6
    assert len(encoder_fingerprint(tmp_path / "text")) == 64
