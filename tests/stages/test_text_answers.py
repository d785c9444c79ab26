"""Stage C asks titles of the towers that it starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.config.techniques import TextAnswerSettings
from mmr.config.training import FusionStageSettings
from mmr.data.dataset import Dataset
from mmr.models.retriever import Retriever
from mmr.models.storage import load_retriever
from mmr.stages.features import product_features
from mmr.stages.text_answers import text_answers
from mmr.stages.training_data import open_catalogue
from mmr.training.text_answers import TextAnswers

ASKED = TextAnswerSettings(weight=0.5, titles=40, depth=10, drawn=5, batch=20)


@pytest.fixture
def towers(untrained_model: Callable[[FusionKind], Path]) -> Path:
    return untrained_model(FusionKind.MEAN)


def stage_c(settings: RunSettings, **changed: object) -> FusionStageSettings:
    fusion = settings.fusion.model_copy(update=changed)
    return settings.model_copy(update={"fusion": fusion}).fusion_stage


def answers_by(
    towers: Path, dataset: Path, settings: FusionStageSettings, cache: Path
) -> tuple[Retriever, torch.Tensor, TextAnswers | None]:
    opened, retriever = Dataset(dataset), load_retriever(towers)
    catalogue = open_catalogue(opened, vision=retriever.settings.vision, cache=cache)
    products = product_features(retriever, catalogue.texts, cache=cache)
    found = text_answers(retriever, opened, catalogue, products, settings=settings, cache=cache)
    return retriever, products, found


def test_the_nearest_products_are_those_whose_text_alone_answers_best(
    tiny_dataset: Path, tiny_settings: RunSettings, towers: Path, tmp_path: Path
) -> None:
    settings = stage_c(tiny_settings, text_answers=ASKED)

    retriever, products, answers = answers_by(towers, tiny_dataset, settings, tmp_path)

    assert answers is not None
    with torch.no_grad():
        scores = retriever.query_head(answers.queries) @ retriever.text_head(products).T
    for row, nearest in zip(scores, answers.nearest, strict=True):
        best = row.sort(descending=True).values[: ASKED.depth]
        assert torch.allclose(row[torch.from_numpy(nearest)], best, atol=1e-5)
    asked = answers.draw(3)
    expected = scores[torch.from_numpy(asked.titles)][:, torch.from_numpy(asked.products)]
    assert torch.allclose(answers.scores(asked), expected, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        {"text_answers": TextAnswerSettings()},
        {"text_answers": ASKED, "kind": FusionKind.TEXT_ONLY},
        {"text_answers": ASKED, "kind": FusionKind.IMAGE_ONLY},
    ],
)
def test_nothing_is_asked_where_it_is_off_or_nothing_is_fused(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    towers: Path,
    tmp_path: Path,
    changed: dict[str, object],
) -> None:
    settings = stage_c(tiny_settings, **changed)

    assert answers_by(towers, tiny_dataset, settings, tmp_path)[2] is None


def test_a_product_without_a_text_is_no_answer_of_the_text(
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    towers: Path,
    tmp_path: Path,
) -> None:
    """However near the vector of an empty text may stand, it says nothing that could be kept."""
    opened, retriever = Dataset(tiny_dataset), load_retriever(towers)
    catalogue = open_catalogue(opened, vision=retriever.settings.vision, cache=tmp_path)
    products = product_features(retriever, catalogue.texts, cache=tmp_path)
    settings = stage_c(tiny_settings, text_answers=ASKED)

    def nearest() -> set[int]:
        answers = text_answers(
            retriever, opened, catalogue, products, settings=settings, cache=tmp_path
        )
        assert answers is not None
        return set(answers.nearest.ravel().tolist())

    silent = sorted(nearest())[::2]
    catalogue.has_text[silent] = False

    assert not nearest() & set(silent)
