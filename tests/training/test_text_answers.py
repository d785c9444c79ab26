"""Titles asked beside the queries, so that the fusion keeps what the text alone answers."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mmr.config.techniques import TextAnswerSettings
from mmr.config.training import FusionStage, FusionStageSettings
from mmr.training.fusion_objective import FusionObjective
from mmr.training.query_text import COLOUR_WORDS
from mmr.training.text_answers import AskedTitles, TextAnswers, asked_titles
from tests.training.small_objectives import BATCH, loss_at

TITLES = ["Acme Women Red Dress", "Bolt men's shoes, black", "navy blue", "", "Acme tea pot"]


def asked(titles: list[str], **settings: Any) -> list[str]:
    return asked_titles(titles, settings=TextAnswerSettings(**settings), seed=3)


def answers_of(shop: Any, **settings: Any) -> TextAnswers:
    random = torch.Generator().manual_seed(1)
    products = len(shop.image_features)
    vectors = torch.nn.functional.normalize(torch.randn(20 + products, 16, generator=random))
    nearest = (vectors[:20] @ vectors[20:].T).argsort(1, descending=True)[:, :8].numpy()
    stage = TextAnswerSettings(**{"weight": 1.0, "batch": 6, "drawn": 3, **settings})
    features = torch.randn(20, 16, generator=random)
    return TextAnswers(features, vectors[:20], vectors[20:], nearest, settings=stage, seed=3)


@torch.no_grad()
def own_answers(shop: Any) -> TextAnswers:
    """What the shop's own towers answer by text alone."""
    answers, retriever = answers_of(shop), shop.retriever
    return replace(
        answers,
        query_embeddings=retriever.query_head(answers.queries),
        text_embeddings=retriever.text_head(shop.inputs.text.products(np.arange(40))),
    )


def objective_with(shop: Any, answers: TextAnswers | None, weight: float) -> FusionObjective:
    stage = FusionStage(
        batch=BATCH, text_dropout=0, image_dropout=0, text_answers=TextAnswerSettings(weight=weight)
    )
    settings = FusionStageSettings(model=shop.model, stage=stage)
    return FusionObjective(
        shop.retriever, shop.inputs, shop.image_features, settings, answers=answers
    )


def test_titles_are_asked_without_the_words_of_colours() -> None:
    queries = asked(TITLES, drop=0)

    assert sorted(queries) == ["Acme Women Dress", "Acme tea pot", "Bolt men's shoes,"]
    words = {word.casefold() for query in queries for word in query.split()}
    assert not words & COLOUR_WORDS


def test_a_shop_may_name_further_words_that_a_photograph_answers() -> None:
    assert sorted(asked(["Kleid Rot", "Rot"], drop=0, shown_words=("ROT",))) == ["Kleid"]


def test_some_words_are_left_out_but_never_all_of_them() -> None:
    titles = [f"one two three four five six {row}" for row in range(300)]

    queries = asked(titles, drop=0.3)
    bare = asked(titles, drop=1)

    kept = np.mean([len(query.split()) for query in queries]) / 7
    assert len(queries) == 300
    assert abs(kept - 0.7) < 0.05
    assert bare == ["one"] * 300


def test_no_more_titles_are_asked_than_the_settings_say_and_the_seed_decides_which() -> None:
    titles = [f"product {row}" for row in range(50)]
    settings = TextAnswerSettings(titles=10, drop=0)

    once, again, other = (asked_titles(titles, settings=settings, seed=s) for s in (3, 3, 4))

    assert len(set(once)) == 10
    assert once == again != other


def test_a_step_asks_titles_and_shows_some_of_the_nearest_products_of_each(tiny_shop: Any) -> None:
    answers = answers_of(tiny_shop)

    steps = [answers.draw(step) for step in range(40)]

    for step in steps:
        assert len(set(step.titles)) == 6
        assert set(step.products) <= set(answers.nearest[step.titles].ravel())
        assert len(set(step.products)) == len(step.products) <= 6 * 3
        for title in step.titles:
            assert len(set(step.products) & set(answers.nearest[title])) >= 3
    assert {title for step in steps for title in step.titles} == set(range(20))
    repeated = answers.draw(0)
    assert np.array_equal(repeated.titles, steps[0].titles)
    assert np.array_equal(repeated.products, steps[0].products)


def test_the_loss_adds_the_divergence_from_the_texts_scores_by_its_weight(tiny_shop: Any) -> None:
    tiny_shop.retriever.eval()
    answers = answers_of(tiny_shop)
    without, half, whole = (
        loss_at(objective_with(tiny_shop, answers if weight else None, weight)).item()
        for weight in (0.0, 0.5, 1.0)
    )

    objective = objective_with(tiny_shop, answers, 1.0)
    drawn = answers.draw(0)
    query = tiny_shop.retriever.query_head(answers.queries[torch.from_numpy(drawn.titles)])
    fused = objective.product_embeddings(drawn.products)
    scale = objective.scale()
    student = (scale * query @ fused.T).log_softmax(1)
    teacher = (scale * answers.scores(drawn)).softmax(1)
    divergence = (teacher * (teacher.log() - student)).sum(1).mean().item()
    assert half - without == pytest.approx((whole - without) / 2, rel=1e-3)
    assert whole - without == pytest.approx(divergence, rel=1e-3)


def test_a_fusion_that_answers_as_the_text_does_has_forgotten_nothing(tiny_shop: Any) -> None:
    tiny_shop.retriever.eval()
    tiny_shop.inputs.catalogue.has_image[:] = False  # the fused product is its text then
    answers = own_answers(tiny_shop)

    objective = objective_with(tiny_shop, answers, 1.0)

    assert objective._forgotten(answers, answers.draw(0)).item() == pytest.approx(0, abs=1e-5)


def test_keeping_the_texts_answers_does_not_teach_the_scale(tiny_shop: Any) -> None:
    answers = answers_of(tiny_shop)
    objective = objective_with(tiny_shop, answers, 1.0)

    objective._forgotten(answers, answers.draw(0)).backward()

    assert objective.scale.log_scale.grad is None
    assert any(value.grad is not None for value in tiny_shop.retriever.fusion.parameters())


def test_a_fusion_that_learns_with_kept_answers_forgets_less(tiny_shop: Any) -> None:
    retriever = tiny_shop.retriever
    answers = own_answers(tiny_shop)
    start = copy.deepcopy(retriever.fusion.state_dict())

    def forgotten(weight: float) -> float:
        retriever.fusion.load_state_dict(start)
        objective = objective_with(tiny_shop, answers if weight else None, weight)
        optimizer = torch.optim.AdamW(retriever.fusion.parameters(), lr=3e-3)
        for step in range(40):
            optimizer.zero_grad()
            loss_at(objective, step).backward()
            optimizer.step()
        with torch.no_grad():
            return objective._forgotten(answers, AskedTitles(np.arange(20), np.arange(40))).item()

    assert forgotten(3.0) < 0.8 * forgotten(0.0)
