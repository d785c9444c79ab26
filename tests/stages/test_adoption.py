"""A stage that has to prove itself is kept only where a fusion answers better with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mmr import stages
from mmr.atomic import write_json
from mmr.cli import build_app
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings, load_settings
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages import adoption
from mmr.stages.stage_report import Adoption, StageReport
from mmr.training import loop as training_loop
from mmr.training.figures import Figures

FIELDS = {"finetune_vision": "vision", "align_queries": "align"}


@dataclass(frozen=True)
class Shop:
    """A tiny shop, in which stages A and B may be asked for a proof.

    Attributes:
        dataset: Its dataset.
        settings: Of stages that prove nothing.
        starts: What each stage starts from.
        cache: Where results lie.
    """

    dataset: Path
    settings: RunSettings
    starts: dict[str, Path]
    cache: Path

    def train(self, stage: str, out: Path, *, proven: bool, steps: int | None = None) -> Any:
        part = getattr(self.settings, FIELDS[stage])
        loop = part.loop if steps is None else part.loop.model_copy(update={"steps": steps})
        part = part.model_copy(update={"only_if_better": proven, "loop": loop})
        settings = self.settings.model_copy(update={FIELDS[stage]: part})
        common = {"dataset": self.dataset, "out": out, "cache": self.cache}
        if stage == "finetune_vision":
            start = self.starts[stage]
            return stages.finetune_vision(text_only=start, settings=settings.vision_stage, **common)
        return stages.align_queries(
            vision=self.starts[stage], settings=settings.align_stage, **common
        )

    def concatenation(self, towers: Path, out: Path, *, floor: Figures | None = None) -> Figures:
        """What a user would measure who trains the plainest fusion from some towers."""
        file = towers / "training.json"
        write_json(file, json.loads(file.read_text()) | {"floor": floor and floor.named()})
        plain = {"kind": FusionKind.CONCAT, "auxiliary_weight": 0.0, "image_only_steps": 0}
        plain |= {"only_if_better": True}
        fusion = self.settings.fusion.model_copy(update=plain)
        report: StageReport = stages.train_fusion(
            dataset=self.dataset,
            aligned=towers,
            out=out,
            settings=self.settings.model_copy(update={"fusion": fusion}).fusion_stage,
            cache=out.parent / "cache-of-its-own",
        )
        return report.validation


@pytest.fixture
def shop(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    untrained_model: Callable[[FusionKind], Path],
    tmp_path: Path,
) -> Shop:
    starts = {
        "finetune_vision": untrained_model(FusionKind.TEXT_ONLY),
        "align_queries": untrained_model(FusionKind.MEAN),
    }
    return Shop(tiny_dataset, tiny_settings, starts, tmp_path / "cache")


NOTHING = Figures(ndcg_at_10=0.0, recall_at_10=0.0, recall_at_100=0.0)
BEFORE = Figures(ndcg_at_10=0.5, recall_at_10=0.5, recall_at_100=0.875)


def found_after(**after: float) -> Callable[..., Figures]:
    """A stand-in for the proof of stage A or B: `BEFORE` before it."""
    found = replace(BEFORE, **after)
    return lambda towers, run, probe, floor: found if run.settings.stage.loop.steps else BEFORE


@pytest.mark.parametrize("stage", FIELDS)
def test_the_towers_with_the_better_concatenation_are_kept(
    shop: Shop, stage: str, tmp_path: Path
) -> None:
    shop.train(stage, tmp_path / "start", proven=False, steps=0)
    shop.train(stage, tmp_path / "end", proven=False)
    before = shop.concatenation(tmp_path / "start", tmp_path / "concat-start")
    after = shop.concatenation(tmp_path / "end", tmp_path / "concat-end", floor=before)

    report: StageReport = shop.train(stage, tmp_path / "proven", proven=True)

    assert report.adoption == Adoption(before=before, after=after)
    better = "end" if after.reach(before) else "start"
    assert encoder_fingerprint(tmp_path / "proven") == encoder_fingerprint(tmp_path / better)


@pytest.mark.parametrize("stage", FIELDS)
def test_the_start_that_a_stage_was_held_against_is_not_made_again(
    shop: Shop, stage: str, tmp_path: Path
) -> None:
    shop.train(stage, tmp_path / "proven", proven=True)

    start: StageReport = shop.train(stage, tmp_path / "start", proven=True, steps=0)

    assert start.reused


@pytest.mark.parametrize("stage", FIELDS)
@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ({"ndcg_at_10": 0.4}, "start"),
        ({"ndcg_at_10": 0.5}, "end"),
        ({"ndcg_at_10": 0.6}, "end"),
        ({"ndcg_at_10": 0.6, "recall_at_10": 0.4}, "start"),
        ({"ndcg_at_10": 0.6, "recall_at_100": 0.75}, "start"),
    ],
)
def test_a_stage_that_costs_the_fusion_something_is_left_out_and_says_so(
    shop: Shop,
    stage: str,
    after: dict[str, float],
    kept: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = shop.train(stage, tmp_path / "start", proven=False, steps=0)
    end = shop.train(stage, tmp_path / "end", proven=False)

    monkeypatch.setattr(adoption, "_concatenation", found_after(**after))
    report: StageReport = shop.train(stage, tmp_path / "proven", proven=True)

    record = json.loads((tmp_path / "proven" / "training.json").read_text())
    expected = {"start": start, "end": end}[kept]
    assert encoder_fingerprint(tmp_path / "proven") == encoder_fingerprint(tmp_path / kept)
    assert report.steps == end.steps == 12
    assert report.best_step == record["best_step"] == expected.best_step
    assert report.validation == expected.validation
    assert report.as_metrics()["adopted"] == (kept == "end")
    found = Adoption(before=BEFORE, after=replace(BEFORE, **after))
    assert record["adoptions"] == {stage: asdict(found)}
    told = [entry["step"] for entry in record["history"] if entry["stage"] == stage]
    assert told == [6, 12]  # what was trained stays on record, kept or not


def test_later_stages_hand_on_what_was_found(shop: Shop, tmp_path: Path) -> None:
    shop.train("finetune_vision", tmp_path / "vision", proven=True)
    shop.starts["align_queries"] = tmp_path / "vision"
    shop.train("align_queries", tmp_path / "aligned", proven=True)
    stages.train_fusion(
        dataset=shop.dataset,
        aligned=tmp_path / "aligned",
        out=tmp_path / "fused",
        settings=shop.settings.fusion_stage,
        cache=shop.cache,
    )

    record = json.loads((tmp_path / "fused" / "training.json").read_text())
    assert list(record["adoptions"]) == ["finetune_vision", "align_queries"]
    found = record["adoptions"]["align_queries"]
    earlier = Adoption.of(record["adoptions"]["finetune_vision"])
    assert Figures.of(found["before"]) == (earlier.after if earlier.adopted else earlier.before)


def test_a_reused_fusion_tells_of_the_towers_that_it_was_asked_for(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same towers may be untrained on purpose, or because their training did not help."""
    monkeypatch.setattr(adoption, "_concatenation", found_after(ndcg_at_10=0.25))
    shop.train("finetune_vision", tmp_path / "untrained", proven=False, steps=0)
    shop.train("finetune_vision", tmp_path / "left-out", proven=True)
    told = {}
    for name in ("untrained", "left-out"):
        told[name] = stages.train_fusion(
            dataset=shop.dataset,
            aligned=tmp_path / name,
            out=tmp_path / f"fused-{name}",
            settings=shop.settings.fusion_stage,
            cache=shop.cache,
        )

    records = {
        name: json.loads((tmp_path / f"fused-{name}" / "training.json").read_text())
        for name in told
    }
    assert told["left-out"].reused
    assert records["untrained"]["adoptions"] == {}
    found = Adoption.of(records["left-out"]["adoptions"]["finetune_vision"])
    assert found == Adoption(before=BEFORE, after=replace(BEFORE, ndcg_at_10=0.25))
    trained = {name: [e["stage"] for e in record["history"]] for name, record in records.items()}
    assert trained["left-out"] == ["finetune_vision"] * 2 + trained["untrained"]


def test_a_stage_killed_in_its_proof_goes_on_there(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    whole_step = training_loop._Run.step

    def dying(run: Any, feed: Any) -> None:
        steps.append(run.state.step)
        if len(steps) == 12 + 10:  # in the first of the two concatenations
            raise KeyboardInterrupt
        whole_step(run, feed)

    monkeypatch.setattr(training_loop._Run, "step", dying)
    with pytest.raises(KeyboardInterrupt):
        shop.train("finetune_vision", tmp_path / "model", proven=True)
    assert not (tmp_path / "model").exists()
    shop.train("finetune_vision", tmp_path / "model", proven=True)

    assert steps[:26] == [*range(12), *range(10), *range(8, 12)]
    best_step = json.loads((tmp_path / "model" / "training.json").read_text())["best_step"]
    assert steps[26:] == ([*range(12)] if best_step else [])  # equal towers are probed once
    assert shop.train("finetune_vision", tmp_path / "again", proven=True).reused
    assert encoder_fingerprint(tmp_path / "again") == encoder_fingerprint(tmp_path / "model")


@pytest.mark.parametrize(
    ("after", "verdict"),
    [(0.25, "it is left out."), (0.75, "it is kept.")],
)
def test_the_command_says_what_became_of_the_stage(
    shop: Shop, after: float, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vision = shop.settings.vision.model_copy(update={"only_if_better": True})
    settings = shop.settings.model_copy(update={"vision": vision})
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    monkeypatch.setattr(adoption, "_concatenation", found_after(ndcg_at_10=after))

    told = CliRunner().invoke(
        build_app(),
        [
            *["train", "vision", str(shop.dataset), "--start", str(shop.starts["finetune_vision"])],
            *["--out", str(tmp_path / "vision"), "--preset", str(tmp_path / "shop.yaml")],
            *["--workspace", str(tmp_path / "workspace")],
        ],
    )

    assert told.exit_code == 0, told.output
    line = f"With it: {replace(BEFORE, ndcg_at_10=after)}. So {verdict}"
    assert f"Without the stage: {BEFORE}." in told.output
    assert line in told.output


def test_a_stage_proves_nothing_unless_it_is_asked_to() -> None:
    settings = RunSettings()
    laptop = load_settings("laptop")

    assert settings.vision_stage.probe is None
    assert settings.align_stage.probe is None
    assert settings.fusion_stage.probe is None
    for stage in (laptop.vision_stage, laptop.align_stage, laptop.fusion_stage):
        assert stage.probe is not None
        assert stage.probe.kind is FusionKind.CONCAT
        assert stage.probe.loop == laptop.fusion.loop


@pytest.mark.parametrize(("after", "floor"), [(0.75, BEFORE), (0.25, None)])
def test_the_record_says_what_a_fusion_of_the_kept_towers_may_not_be_below(
    shop: Shop,
    after: float,
    floor: Figures | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adoption, "_concatenation", found_after(ndcg_at_10=after))
    monkeypatch.setattr(adoption, "encoder_fingerprint", str)  # as if training had changed them

    shop.train("finetune_vision", tmp_path / "vision", proven=True)

    record = json.loads((tmp_path / "vision" / "training.json").read_text())
    assert record["floor"] == (floor and floor.named())  # the text-only towers here have none


def test_towers_that_training_left_as_they_were_are_held_against_the_same_as_before(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    floors: list[Figures] = []

    def noting(towers: Path, run: Any, probe: Any, *, floor: Figures) -> Figures:
        floors.append(floor)
        return BEFORE

    monkeypatch.setattr(adoption, "_concatenation", noting)
    monkeypatch.setattr(adoption, "encoder_fingerprint", lambda model: "the same")

    shop.train("finetune_vision", tmp_path / "vision", proven=True)

    assert floors == [NOTHING, NOTHING]
    assert json.loads((tmp_path / "vision" / "training.json").read_text())["floor"] == (
        NOTHING.named()
    )
