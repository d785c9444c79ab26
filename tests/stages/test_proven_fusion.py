"""Stage C keeps its network only where that answers better than a concatenation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.config.techniques import TextAnswerSettings
from mmr.models.storage import load_retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages import adoption
from mmr.stages.gate_record import stages_left_out
from mmr.stages.stage_report import StageReport
from mmr.training.figures import Figures

Train = Callable[..., StageReport]


@pytest.fixture
def train(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    untrained_model: Callable[[FusionKind], Path],
    tmp_path: Path,
) -> Train:
    towers = untrained_model(FusionKind.MEAN)

    def run(name: str, **changed: object) -> StageReport:
        fusion = tiny_settings.fusion.model_copy(update={"auxiliary_weight": 0.0, **changed})
        settings = tiny_settings.model_copy(update={"fusion": fusion})
        return stages.train_fusion(
            dataset=tiny_dataset,
            aligned=towers,
            out=tmp_path / name,
            settings=settings.fusion_stage,
            cache=tmp_path / "cache",
        )

    return run


@pytest.mark.parametrize("kind", [FusionKind.BILINEAR_EXPERTS, FusionKind.GATE, FusionKind.MEAN])
def test_the_better_of_network_and_concatenation_is_kept(
    train: Train, kind: FusionKind, tmp_path: Path
) -> None:
    network = train("network", kind=kind)
    plain = train("plain", kind=FusionKind.CONCAT, only_if_better=True)

    proven = train("proven", kind=kind, only_if_better=True)

    assert proven.adoption is not None
    assert proven.adoption.before == plain.validation
    assert proven.validation.reach(plain.validation)
    assert not network.validation.beat(proven.adoption.after, floor=plain.validation)
    if proven.adoption.adopted:
        assert load_retriever(tmp_path / "proven").kind is kind
    else:
        assert encoder_fingerprint(tmp_path / "proven") == encoder_fingerprint(tmp_path / "plain")


@pytest.mark.parametrize(
    ("better", "kept"),
    [
        (Figures(1.0, 0.0, 0.0), FusionKind.CONCAT),
        (Figures(0.0, 1.0, 0.0), FusionKind.CONCAT),
        (Figures(0.0, 0.0, 0.0), FusionKind.BILINEAR_EXPERTS),
    ],
)
def test_a_network_that_costs_something_gives_way_and_the_record_says_so(
    train: Train,
    better: Figures,
    kept: FusionKind,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adoption, "_concatenation", lambda *_, floor: better)

    report = train("proven", only_if_better=True)

    retriever = load_retriever(tmp_path / "proven")
    record = json.loads((tmp_path / "proven" / "training.json").read_text())
    assert retriever.kind is kept
    assert retriever.image_only_head is not None  # products without a text are served either way
    assert record["adoptions"]["train_fusion"]["before"] == better.named()
    assert report.as_metrics()["adopted"] == (kept is FusionKind.BILINEAR_EXPERTS)
    told = stages_left_out(tmp_path / "proven")
    assert bool(told) == (kept is FusionKind.CONCAT)
    assert all(line.startswith(f"train_fusion (without it {better}; with it ") for line in told)


@pytest.mark.parametrize("kind", [FusionKind.CONCAT, FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY])
def test_concatenation_and_single_modalities_have_nothing_to_prove(
    train: Train, kind: FusionKind, tmp_path: Path
) -> None:
    report = train("proven", kind=kind, only_if_better=True)

    assert report.adoption is None
    assert load_retriever(tmp_path / "proven").kind is kind


def test_where_the_network_keeps_the_texts_answers_it_is_held_against_a_concatenation_without(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train("plain", kind=FusionKind.CONCAT, only_if_better=True)
    kept = TextAnswerSettings(weight=0.5, titles=20, depth=6, batch=6)
    held_against = adoption._concatenation

    def unbeatable(*args: Any, floor: Figures) -> Figures:
        found = held_against(*args, floor=floor)
        assert found == plain.validation
        return replace(found, ndcg_at_10=2.0)

    monkeypatch.setattr(adoption, "_concatenation", unbeatable)

    train("proven", only_if_better=True, text_answers=kept)

    assert encoder_fingerprint(tmp_path / "proven") == encoder_fingerprint(tmp_path / "plain")


def test_a_proven_fusion_is_not_trained_again(train: Train, tmp_path: Path) -> None:
    train("first", only_if_better=True)

    assert train("second", only_if_better=True).reused
    assert encoder_fingerprint(tmp_path / "first") == encoder_fingerprint(tmp_path / "second")


def test_the_concatenation_that_a_network_was_held_against_is_not_trained_again(
    train: Train,
) -> None:
    train("proven", only_if_better=True, image_only_steps=0)

    plain = train("plain", kind=FusionKind.CONCAT, only_if_better=True, image_only_steps=0)

    assert plain.reused
