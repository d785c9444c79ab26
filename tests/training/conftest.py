"""A shop of random features, and a real retriever small enough to differentiate by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from torch import Tensor
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from mmr.config.model import FusionKind, ModelSettings, VisionSettings
from mmr.models.fusion import new_fusion
from mmr.models.retriever import Retriever, token_channels
from mmr.models.text import TextEncoder
from mmr.training.data import Catalogue, JudgedQueries
from mmr.training.query_objective import TrainingInputs
from mmr.training.text_source import KeptText

MakeJudged = Callable[..., JudgedQueries]


def judged_queries(grades: np.ndarray, same_query: list[int] | None = None) -> JudgedQueries:
    """Queries with these dense grades."""
    rows = len(grades)
    groups = np.arange(rows) if same_query is None else np.asarray(same_query)
    return JudgedQueries(
        queries=[f"query {row}" for row in range(rows)],
        query_ids=[f"q{row}" for row in range(rows)],
        same_query=groups.astype(np.int64),
        grades=csr_array(grades.astype("i1")),
    )


@pytest.fixture
def make_judged() -> MakeJudged:
    return judged_queries


@pytest.fixture
def random_judged() -> MakeJudged:
    def make(queries: int, products: int, seed: int = 0) -> JudgedQueries:
        random = np.random.default_rng(seed)
        grades = random.random((queries, products)) < 0.2
        grades = grades * random.integers(1, 3, (queries, products))
        grades[np.arange(queries), random.integers(0, products, queries)] = 2
        return judged_queries(grades)

    return make


def new_catalogue(products: int, text_groups: list[int] | None = None) -> Catalogue:
    """Products that all have a text and an image, some of the same text if asked."""
    groups = np.arange(products) if text_groups is None else np.asarray(text_groups)
    pixels = np.random.default_rng(0).integers(0, 256, (products, 16, 16, 3), dtype=np.uint8)
    return Catalogue(
        texts=[f"text {group}" for group in groups],
        own_texts=[f"text {group}" for group in groups],
        has_text=np.ones(products, dtype=np.bool_),
        has_image=np.ones(products, dtype=np.bool_),
        pixels=pixels,
        pixels_key="random",
        text_groups=groups.astype(np.int64),
    )


@pytest.fixture
def make_catalogue() -> Callable[..., Catalogue]:
    return new_catalogue


@dataclass(frozen=True)
class TinyShop:
    """Everything that an objective reads, of random numbers."""

    retriever: Retriever
    inputs: TrainingInputs
    image_features: Tensor
    model: ModelSettings


@pytest.fixture
def tiny_shop(random_judged: MakeJudged) -> TinyShop:
    torch.manual_seed(0)
    model = ModelSettings(
        dim=16,
        head_hidden=16,
        bilinear_rank=4,
        dropout=0.0,
        vision=VisionSettings(
            architecture={
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [8],
                "depths": [1],
                "layer_type": "basic",
            },
            height=16,
            width=16,
            colour_bins=2,
        ),
    )
    backbone = BertModel(
        BertConfig(
            vocab_size=20,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
        )
    )
    no_tokenizer = cast(PreTrainedTokenizerBase, None)  # features are kept, nothing is tokenised
    text = TextEncoder(backbone, no_tokenizer, pooling="mean")
    retriever = Retriever(
        model,
        text_encoder=text,
        image_encoder=None,
        fusion=new_fusion(FusionKind.MEAN, model, token_channels(text, None)),
        kind=FusionKind.MEAN,
    )
    retriever.with_images()
    retriever.with_fusion(FusionKind.BILINEAR_EXPERTS)
    judged = random_judged(12, 40)
    kept = KeptText(torch.randn(12, 16), torch.randn(40, 16))
    encoder = retriever.image_encoder
    assert encoder is not None
    return TinyShop(
        retriever,
        TrainingInputs(new_catalogue(40), judged, kept),
        torch.randn(40, encoder.features),
        model,
    )
