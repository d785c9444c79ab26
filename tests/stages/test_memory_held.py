"""Training holds little of a catalogue at once: heads meet it in blocks, features are let go."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.config.techniques import TextAnswerSettings
from mmr.config.training import FusionStageSettings
from mmr.models.heads import ProjectionHead
from mmr.models.retriever import Retriever
from mmr.stages import features, fusion_training, product_features

ROWS = 13  # fewer than the tiny catalogue has, and no divisor of that number


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every call of a head without gradients."""
    rows: list[int] = []
    project = ProjectionHead.project

    def watched(head: ProjectionHead, given: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            rows.append(len(given))
        return project(head, given)

    monkeypatch.setattr(ProjectionHead, "project", watched)
    for module in (features, product_features):
        monkeypatch.setattr(module, "HEAD_ROWS", ROWS)
    return rows


def test_blocks_of_rows_become_what_all_of_them_would_at_once() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(24, 16, hidden=32, dropout=0.4).eval()
    torch.nn.init.normal_(head.residual[-1].weight)
    given = torch.randn(2 * features.HEAD_ROWS + 5, 24)

    torch.testing.assert_close(features.projected(head, given), head(given))


def test_validating_text_only_towers_never_projects_more_than_a_block(
    seen: list[int], tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    stages.train_text_only(
        dataset=tiny_dataset,
        out=tmp_path / "text",
        settings=tiny_settings.text_only_stage,
        cache=tmp_path / "cache",
    )

    assert max(seen) == ROWS


def test_a_fusion_that_keeps_what_texts_answer_never_projects_more_than_a_block(
    seen: list[int],
    untrained_model: Callable[[FusionKind], Path],
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path: Path,
) -> None:
    stages.train_fusion(
        dataset=tiny_dataset,
        aligned=untrained_model(FusionKind.MEAN),
        out=tmp_path / "fused",
        settings=_asking_texts(tiny_settings),
        cache=tmp_path / "cache",
    )

    assert max(seen) == ROWS


def test_stage_c_lets_its_features_go_before_it_turns_the_axes(
    monkeypatch: pytest.MonkeyPatch,
    untrained_model: Callable[[FusionKind], Path],
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path: Path,
) -> None:
    opened: list[weakref.ref[fusion_training._StageData]] = []
    held: list[object] = []
    open_data, turn = fusion_training._StageData.open, Retriever.with_principal_axes

    def noted(*args: Any, **kwargs: Any) -> fusion_training._StageData:
        data = open_data(*args, **kwargs)
        opened.append(weakref.ref(data))
        return data

    def turned(retriever: Retriever, products: Tensor) -> None:
        held.extend(data() for data in opened)
        turn(retriever, products)

    monkeypatch.setattr(fusion_training._StageData, "open", noted)
    monkeypatch.setattr(Retriever, "with_principal_axes", turned)
    stages.train_fusion(
        dataset=tiny_dataset,
        aligned=untrained_model(FusionKind.MEAN),
        out=tmp_path / "fused",
        settings=tiny_settings.fusion_stage,
        cache=tmp_path / "cache",
    )

    assert held == [None]


def _asking_texts(settings: RunSettings) -> FusionStageSettings:
    answers = TextAnswerSettings(weight=0.5, titles=40, depth=10, drawn=5, batch=20)
    fusion = settings.fusion.model_copy(update={"text_answers": answers})
    return settings.model_copy(update={"fusion": fusion}).fusion_stage
