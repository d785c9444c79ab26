"""A concatenation that finds less than the text alone is drawn back towards it."""

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
from mmr.stages.blending import SHARES, blend_towards_text
from mmr.stages.stage_report import StageReport
from mmr.training.figures import Figures
from mmr.training.loop import FitResult

DIM = 4


def trained() -> tuple[Concat, torch.Tensor]:
    torch.manual_seed(1)
    fusion = Concat(DIM)
    torch.nn.init.normal_(fusion.mix.weight)
    return fusion, fusion.mix.weight.detach().clone()


def falling_recall(fusion: Concat, learnt: torch.Tensor) -> Callable[[], Figures]:
    """More of the image orders better and finds less."""

    def measure() -> Figures:
        share = float(fusion.mix.weight.data[0, DIM] / learnt[0, DIM])
        return Figures(0.5 + 0.3 * share, 0.6, 1 - 0.1 * share**2)

    return measure


def ended(figures: Figures) -> FitResult:
    return FitResult(best_step=8, best=figures, steps=12, history=[], data_wait_share=0.0)


def test_as_much_stays_of_what_was_learnt_as_the_floor_allows() -> None:
    fusion, learnt = trained()
    measure = falling_recall(fusion, learnt)

    result = blend_towards_text(
        fusion, measure, start=ended(measure()), floor=Figures(0.5, 0.6, 0.95)
    )

    text_alone = torch.cat([torch.eye(DIM), torch.zeros(DIM, DIM)], dim=1)
    torch.testing.assert_close(fusion.mix.weight.data, 0.3 * text_alone + 0.7 * learnt)
    assert result.best == measure()
    assert SHARES[result.best_step - 1] == 0.7
    assert [entry["share"] for entry in result.history] == list(SHARES)
    assert SHARES[-1] == 0


def test_a_concatenation_that_no_share_brings_to_the_floor_stays_as_it_was() -> None:
    fusion, learnt = trained()
    measure = falling_recall(fusion, learnt)
    start = ended(measure())

    result = blend_towards_text(fusion, measure, start=start, floor=Figures(0.5, 0.7, 0.95))

    assert torch.equal(fusion.mix.weight, learnt)
    assert (result.best_step, result.best) == (0, start.best)


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
    shares = [entry["share"] for entry in history if entry["stage"] == "train_fusion.blend"]
    assert shares == list(SHARES)
    assert proven.blend in SHARES
    assert proven.as_metrics()["blend"] == proven.blend
    assert free.blend is None


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
    share = shop.train(proven=True).blend
    assert f"no less than without it: {share:.2f} of what it learnt is kept." in told.output
