"""As much is kept of what a fusion learnt as finds no less than it has to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from mmr import stages
from mmr.cli import build_app
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.models.fusion import Concat
from mmr.stages.stage_report import StageReport
from mmr.training.blending import (
    START_SHARES,
    TEXT_SHARES,
    blend_with_start,
    blend_with_text,
    copied_weights,
)
from mmr.training.figures import Figures
from mmr.training.loop import FitResult

DIM = 4


def trained() -> tuple[Concat, torch.Tensor]:
    torch.manual_seed(1)
    fusion = Concat(DIM)
    torch.nn.init.normal_(fusion.mix.weight)
    return fusion, fusion.mix.weight.detach().clone()


def measured_by(share_of: Callable[[], float]) -> Callable[[], Figures]:
    """More of what was learnt orders better and finds less."""
    return lambda: Figures(0.5 + 0.3 * share_of(), 0.6, 1 - 0.1 * share_of() ** 2)


def image_share(fusion: Concat, learnt: torch.Tensor) -> Callable[[], float]:
    """How much of the weights of the image is left; the text alone has none."""
    return lambda: float(fusion.mix.weight.data[0, DIM] / learnt[0, DIM])


def ended(figures: Figures) -> FitResult:
    return FitResult(best_step=8, best=figures, steps=12, history=[], data_wait_share=0.0)


def test_a_concatenation_keeps_as_much_beside_the_text_alone_as_the_floor_allows() -> None:
    fusion, learnt = trained()
    measure = measured_by(image_share(fusion, learnt))

    result = blend_with_text(fusion, measure, end=ended(measure()), floor=Figures(0.5, 0.6, 0.95))

    text_alone = torch.cat([torch.eye(DIM), torch.zeros(DIM, DIM)], dim=1)
    torch.testing.assert_close(fusion.mix.weight.data, 0.3 * text_alone + 0.7 * learnt)
    assert result.best == measure()
    assert TEXT_SHARES[result.best_step - 1] == 0.7
    assert [entry["share"] for entry in result.history] == list(TEXT_SHARES[:6])
    assert TEXT_SHARES[-1] == 0


def test_a_concatenation_that_no_share_brings_to_the_floor_stays_as_it_was() -> None:
    fusion, learnt = trained()
    measure = measured_by(image_share(fusion, learnt))
    end = ended(measure())

    result = blend_with_text(fusion, measure, end=end, floor=Figures(0.5, 0.7, 0.95))

    assert torch.equal(fusion.mix.weight, learnt)
    assert (result.best_step, result.best) == (0, end.best)


@pytest.mark.parametrize(
    ("reached_at", "kept"), [(0.8, 0.8), (0.5, 0.5), (0.2, 1.0)], ids=["inside", "half", "never"]
)
def test_the_largest_share_that_reaches_the_floor_is_kept_of_all_that_was_trained(
    reached_at: float, kept: float
) -> None:
    torch.manual_seed(2)
    modules = [torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)]
    start = copied_weights(modules)
    for module in modules:
        for parameter in module.parameters():
            parameter.data += 1
    modules[1].num_batches_tracked += 7
    learnt = copied_weights(modules)

    def measure() -> Figures:
        share = float((modules[0].weight.data - start[0]["weight"]).mean())
        return Figures(share, 0.5, 1.0 if share < reached_at + 0.01 else 0.5)

    result = blend_with_start(
        modules, start, measure, end=ended(measure()), floor=Figures(0.0, 0.5, 0.75)
    )

    for module, before, after in zip(modules, start, learnt, strict=True):
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                expected = before[name] + kept * (after[name] - before[name])
                torch.testing.assert_close(value, expected)
    assert int(modules[1].num_batches_tracked) == 7  # whole numbers have nothing in between
    assert result.best == measure()
    assert result.best_step == (START_SHARES.index(kept) + 1 if kept < 1 else 0)


@dataclass(frozen=True)
class Shop:
    """Tuned text towers, and an image tower that nobody trained.

    Attributes:
        dataset: Its dataset.
        settings: Of all stages.
        root: Holds `text`, `vision` and what else is trained.
    """

    dataset: Path
    settings: RunSettings
    root: Path

    def concat(self, *, proven: bool) -> RunSettings:
        plain = {"kind": FusionKind.CONCAT, "auxiliary_weight": 0.0, "only_if_better": proven}
        fusion = self.settings.fusion.model_copy(update=plain)
        return self.settings.model_copy(update={"fusion": fusion})

    def train(self, *, proven: bool) -> StageReport:
        return stages.train_fusion(
            dataset=self.dataset,
            aligned=self.root / "vision",
            out=self.root / f"concat-{proven}",
            settings=self.concat(proven=proven).fusion_stage,
            cache=self.root / "cache",
        )


@pytest.fixture
def shop(tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path) -> Shop:
    still = tiny_settings.vision.loop.model_copy(update={"steps": 0})
    untrained = tiny_settings.vision.model_copy(update={"loop": still})
    settings = tiny_settings.model_copy(update={"vision": untrained})
    common = {"dataset": tiny_dataset, "cache": tmp_path / "cache"}
    text = tmp_path / "text"
    stages.train_text_only(out=text, settings=settings.text_only_stage, **common)
    stages.finetune_vision(
        text_only=text, out=tmp_path / "vision", settings=settings.vision_stage, **common
    )
    return Shop(tiny_dataset, settings, tmp_path)


def test_a_concatenation_that_has_to_prove_itself_is_nowhere_below_the_text_alone(
    shop: Shop,
) -> None:
    record = json.loads((shop.root / "vision" / "training.json").read_text())
    text_alone = Figures.of(record["floor"])
    told = json.loads((shop.root / "text" / "training.json").read_text())
    assert text_alone == Figures.of(told, "validation_")

    free, proven = shop.train(proven=False), shop.train(proven=True)

    assert not free.validation.reach(text_alone)
    assert proven.validation.reach(text_alone)
    history = json.loads((shop.root / "concat-True" / "training.json").read_text())["history"]
    tried = [entry["share"] for entry in history if entry["stage"] == "train_fusion.with_text"]
    assert tried[-1] == proven.drawn_back
    assert proven.drawn_back in TEXT_SHARES
    assert proven.as_metrics()["drawn_back"] == proven.drawn_back
    assert free.drawn_back is free.share is None


def test_the_command_says_how_far_it_was_drawn_back(shop: Shop) -> None:
    settings = shop.concat(proven=True)
    (shop.root / "shop.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))

    told = CliRunner().invoke(
        build_app(),
        [
            *["train", "fusion", str(shop.dataset), "--start", str(shop.root / "vision")],
            *["--out", str(shop.root / "fused"), "--preset", str(shop.root / "shop.yaml")],
            *["--workspace", str(shop.root / "workspace")],
        ],
    )

    assert told.exit_code == 0, told.output
    share = shop.train(proven=True).drawn_back
    assert f"no less than without the image: {share:.2f} of the concatenation" in told.output
