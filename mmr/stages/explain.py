"""The stage `explain`: why a product's vector, and its score for a query, is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.data.expansion import Expansions, lacking_words
from mmr.errors import ArtifactError, DataContractError
from mmr.models.retriever import Retriever
from mmr.models.storage import stored_settings
from mmr.stages.embedding import ProductTower
from mmr.stages.features import query_features
from mmr.stages.gate_record import fusion_kept_start
from mmr.stages.training_data import words_for
from mmr.types import Float32Array

_CLOSEST = 3


@dataclass(frozen=True)
class ModalityWeights:
    """Shares of text, image and their joint expert in a product's vector; they sum to 1."""

    text: float
    image: float
    joint: float


@dataclass(frozen=True)
class ModalityScore:
    """What a query finds when the product tower may read only some of each product.

    Attributes:
        reads: `text alone`, `image alone` or `text and image`.
        score: Cosine similarity of query and product; None where the product has nothing to read.
        rank: Position of the product among those that have it, from 1.
        products: How many those are.
    """

    reads: str
    score: float | None
    rank: int | None
    products: int


@dataclass(frozen=True)
class Explanation:
    """How a product's vector came about, and what a query sees of it.

    Attributes:
        product_id: The shop's id.
        title: Its title, maybe empty.
        fusion: Kind of the model's fusion.
        has_text, has_image: What the product has.
        expansion: Words of training queries that follow its title in the text that is embedded.
        weights: Of its vector; None where the fusion has none (`concat`, `cross_attention`).
        kept_start: Whether no step of the fusion's training answered better than its start, so that
            the weights are those of the start: equal shares.
        without_image: Cosine between its vector and the one that the tower makes without its
            image: 1 where the image changes nothing. None without text or without image.
        without_text: The same without its text.
        query: The query, if one was asked.
        scores: For the query; empty without one.
    """

    product_id: str
    title: str
    fusion: str
    has_text: bool
    has_image: bool
    expansion: tuple[str, ...]
    weights: ModalityWeights | None
    kept_start: bool
    without_image: float | None
    without_text: float | None
    query: str | None
    scores: tuple[ModalityScore, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def explain(
    *,
    product_id: str,
    model: Path,
    dataset: Path,
    cache: Path,
    query: str | None = None,
    words: Expansions | None = None,
) -> Explanation:
    """Says how much text and image weigh in a product, and in its score for a query.

    Nothing is trained or written but features that the cache lacks. A missing image or text is a
    case: the modality weighs 0 and has no score.

    Args:
        product_id: The shop's id.
        model: Directory of a model that reads text and images.
        dataset: The dataset that holds the product.
        cache: Directory of content-addressed results, where a run left the backbones' features.
        query: Scores and ranks the product for it.
        words: Of document expansion, as a release has them; None takes them from the dataset where
            the model's texts hold any.

    Raises:
        DataContractError: The dataset has no such product; the closest ids are named.
        ArtifactError: The model reads one modality only, so there is nothing to weigh.
    """
    data = Dataset(dataset)
    table = data.product_table(["product_id", "title"])
    product_ids = table["product_id"].to_pylist()
    row = _row_of(product_id, product_ids, data)
    if words is None:
        words = words_for(stored_settings(model).text, data)
    tower = ProductTower.open(model, data, cache=cache, words=words)
    _check_reads_both(tower, model)
    has_text, has_image = bool(tower.products.has_text[row]), bool(tower.products.has_image[row])
    weights = tower.weights([row])
    both = has_text and has_image
    scores: tuple[ModalityScore, ...] = ()
    if query is not None:
        scores = _scores(tower, _query_vector(tower.retriever, query, cache=cache), row)
    return Explanation(
        product_id=product_id,
        title=table["title"][row].as_py() or "",
        fusion=tower.retriever.kind.value,
        has_text=has_text,
        has_image=has_image,
        expansion=lacking_words(
            (words or {}).get(product_id, ()), table["title"][row].as_py() or ""
        ),
        weights=None if weights is None else _weights(weights[0]),
        kept_start=fusion_kept_start(model),
        without_image=_cosine_without(tower, row, image=False) if both else None,
        without_text=_cosine_without(tower, row, text=False) if both else None,
        query=query,
        scores=scores,
    )


def _row_of(product_id: str, product_ids: Sequence[str], data: Dataset) -> int:
    if product_id in product_ids:
        return product_ids.index(product_id)
    close = get_close_matches(product_id, product_ids, n=_CLOSEST, cutoff=0.5)
    cure = f"The closest are {', '.join(close)}." if close else f"One of them is {product_ids[0]}."
    raise DataContractError(
        f"{data.path} has no product {product_id!r} among its {len(product_ids):,}. {cure}"
    )


def _check_reads_both(tower: ProductTower, model: Path) -> None:
    kind = tower.retriever.kind
    if tower.products.images is None or kind in (FusionKind.TEXT_ONLY, FusionKind.IMAGE_ONLY):
        reads = "images" if kind is FusionKind.IMAGE_ONLY else "text"
        raise ArtifactError(
            f"The model {model} reads {reads} only: nothing is weighed in its product vectors. "
            "Explain a release of both, or a model of `mmr train fusion`."
        )


def _weights(row: Float32Array) -> ModalityWeights | None:
    if np.isnan(row).any():
        return None
    text, image, joint = (float(value) for value in row)
    return ModalityWeights(text=text, image=image, joint=joint)


def _cosine_without(
    tower: ProductTower, row: int, *, text: bool = True, image: bool = True
) -> float:
    return float((tower.vectors([row]) @ tower.vectors([row], text=text, image=image).T).item())


@torch.no_grad()
def _query_vector(retriever: Retriever, query: str, *, cache: Path) -> Float32Array:
    features = query_features(retriever, [query], cache=cache)
    vector: Float32Array = retriever.served(retriever.query_head(features))[0].numpy()
    return vector


def _scores(tower: ProductTower, query: Float32Array, row: int) -> tuple[ModalityScore, ...]:
    has_text, has_image = tower.products.has_text.numpy(), tower.products.has_image.numpy()
    readings = (  # name, products that have it, may read text, may read image
        ("text alone", has_text, True, False),
        ("image alone", has_image, False, True),
        ("text and image", has_text | has_image, True, True),
    )
    found = []
    for reads, present, text, image in readings:
        rows = np.flatnonzero(present).tolist()
        score, rank = None, None
        if present[row]:
            scores = tower.vectors(rows, text=text, image=image) @ query
            place = rows.index(row)
            score = float(scores[place])
            # equal scores stand in catalogue order, as everywhere
            rank = 1 + int((scores > scores[place]).sum() + (scores[:place] == scores[place]).sum())
        found.append(ModalityScore(reads=reads, score=score, rank=rank, products=len(rows)))
    return tuple(found)
