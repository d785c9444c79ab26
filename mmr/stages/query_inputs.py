"""What a stage that learns from queries reads: texts, and what its techniques need beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mmr.config.techniques import DistillationSettings
from mmr.config.training import QueryStageSettings
from mmr.data.dataset import Dataset
from mmr.errors import ConfigError, DataContractError
from mmr.hashing import sha256_file
from mmr.models.retriever import Retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import embed_products, embed_queries
from mmr.stages.features import product_features, query_features
from mmr.stages.product_features import ProductFeatures
from mmr.stages.training_data import open_judged, shown_texts
from mmr.training.categories import query_categories
from mmr.training.data import Catalogue, JudgedQueries
from mmr.training.processes import is_main, wait_for_all
from mmr.training.query_objective import TrainingInputs
from mmr.training.query_text import wordings
from mmr.training.scorers import EmbeddingScorer, Scorer, TableScorer
from mmr.training.shown_texts import ShownTexts
from mmr.training.text_source import KeptText, LearningText

_SCORE_COLUMNS = ("query_id", "product_id", "score")


def query_inputs(
    retriever: Retriever,
    dataset: Dataset,
    catalogue: Catalogue,
    *,
    settings: QueryStageSettings,
    cache: Path,
    text_learns: bool = False,
) -> TrainingInputs:
    """Everything that a stage which learns from queries reads.

    The one place where such inputs are made, so that no stage forgets that a query may not see its
    own words in the texts of its products.

    Args:
        retriever: As the stage starts from it.
        dataset: Where the data comes from.
        catalogue: All its products.
        settings: Of the stage.
        cache: Content-addressed results.
        text_learns: Whether the text backbone is trained, so that no features of it can be kept.
    """
    judged = open_judged(dataset, "train")
    shown = shown_texts(
        retriever.settings.text,
        dataset,
        catalogue,
        judged,
        folds=settings.stage.batch.folds,
        seed=settings.seed,
    )
    reworded = wordings(
        judged.queries, settings=settings.stage.techniques.query_text, seed=settings.seed
    )
    text = (
        _learning_text(retriever, judged, shown, reworded)
        if text_learns
        else _kept_text(retriever, judged, shown, reworded, cache=cache)
    )
    return _with_techniques(
        TrainingInputs(catalogue, judged, text, folds=shown.folds),
        retriever,
        dataset,
        settings=settings,
        cache=cache,
    )


def _with_techniques(
    inputs: TrainingInputs,
    retriever: Retriever,
    dataset: Dataset,
    *,
    settings: QueryStageSettings,
    cache: Path,
) -> TrainingInputs:
    """Adds guide, teacher and categories to a stage's inputs where its settings ask for them."""
    techniques, batch, seed = settings.stage.techniques, settings.stage.batch, settings.seed
    guided = techniques.masking.guide_margin is not None
    categories = None
    if batch.category_queries:
        features = product_features(retriever, inputs.catalogue.texts, cache=cache)
        pooled = features[:, : retriever.text_encoder.hidden]  # word pieces may follow
        categories = query_categories(
            inputs.judged.grades, pooled.cpu().numpy(), count=batch.categories, seed=seed
        )
    return replace(
        inputs,
        guide=_starting_scorer(retriever, inputs, cache=cache) if guided else None,
        teacher=_teacher(techniques.distillation, inputs.judged, dataset, seed=seed, cache=cache),
        categories=categories,
    )


def _kept_text(
    retriever: Retriever,
    judged: JudgedQueries,
    shown: ShownTexts,
    reworded: Sequence[Sequence[str]],
    *,
    cache: Path,
) -> KeptText:
    """Features by a frozen backbone; those of the catalogue's texts are what embedding reads."""
    own, standing_in = shown.texts[: shown.products], shown.texts[shown.products :]
    products = product_features(retriever, own, cache=cache)
    if standing_in:
        further = product_features(retriever, standing_in, cache=cache)
        products = torch.cat([products, further])
    return KeptText(
        query_features(retriever, judged.queries, cache=cache),
        products,
        [query_features(retriever, texts, cache=cache) for texts in reworded],
        places=shown.places,
    )


def _learning_text(
    retriever: Retriever,
    judged: JudgedQueries,
    shown: ShownTexts,
    reworded: Sequence[Sequence[str]],
) -> LearningText:
    """A backbone that learns."""
    return LearningText(
        retriever.text_encoder,
        query_encoder=retriever.query_encoder,
        queries=judged.queries,
        products=shown,
        settings=retriever.settings.text,
        wordings=reworded,
    )


def teacher_identity(settings: QueryStageSettings) -> str | None:
    """What the teacher's scores depend on: a model's fingerprint, or a file's hash.

    Raises:
        ConfigError: There is no such model or file.
    """
    teacher = settings.stage.techniques.distillation.teacher
    if teacher is None:
        return None
    path = Path(teacher)
    if path.is_dir():
        return encoder_fingerprint(path)
    if path.is_file():
        return sha256_file(path)
    raise ConfigError(
        f"The teacher {path} is neither a model directory nor a Parquet file of "
        f"{', '.join(_SCORE_COLUMNS)}. Correct distillation.teacher, or set it to null."
    )


@torch.no_grad()
def _starting_scorer(retriever: Retriever, inputs: TrainingInputs, *, cache: Path) -> Scorer:
    """The cosines of the model that a stage starts from."""
    retriever.eval()
    products = ProductFeatures.open(retriever, inputs.catalogue, cache=cache).embedded(retriever)
    queries = retriever.query_head(query_features(retriever, inputs.judged.queries, cache=cache))
    return EmbeddingScorer(queries.cpu().numpy(), products.cpu().numpy())


def _teacher(
    settings: DistillationSettings,
    judged: JudgedQueries,
    dataset: Dataset,
    *,
    seed: int,
    cache: Path,
) -> Scorer | None:
    if settings.teacher is None:
        return None
    path = Path(settings.teacher)
    if path.is_dir():
        if is_main():
            embed_products(path, dataset, cache=cache)
        wait_for_all()  # the others read what the main process keeps
        return EmbeddingScorer(
            embed_queries(path, judged.queries, cache=cache),
            np.asarray(embed_products(path, dataset, cache=cache).vectors),
        )
    scored = _known_pairs(path, judged, dataset)
    return TableScorer(
        scored["query"].to_numpy(np.int64),
        scored["product"].to_numpy(np.int64),
        scored["score"].to_numpy(np.float32),
        shape=(len(judged), len(dataset)),
        drawn=settings.products,
        seed=seed,
    )


def _known_pairs(path: Path, judged: JudgedQueries, dataset: Dataset) -> pd.DataFrame:
    """Rows of training queries and products with their score, each pair once.

    Raises:
        DataContractError: The file is no such table, or names nothing that is trained on.
    """
    try:
        table = pq.read_table(path, columns=list(_SCORE_COLUMNS)).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataContractError(
            f"{path} cannot be read as a teacher's scores ({error}). Give a Parquet file with the "
            f"columns {', '.join(_SCORE_COLUMNS)}."
        ) from error
    missing = [name for name in _SCORE_COLUMNS if name not in table]
    if missing:
        raise DataContractError(f"{path} lacks {', '.join(missing)}. Add them.")
    queries = pd.Series(range(len(judged)), index=judged.query_ids)
    products = pd.Series(range(len(dataset)), index=dataset.product_ids())
    known = table[table["query_id"].isin(queries.index) & table["product_id"].isin(products.index)]
    known = known.dropna(subset=["score"]).drop_duplicates(["query_id", "product_id"])
    if known.empty:
        raise DataContractError(
            f"None of the {len(table)} scores of {path} is of a training query and a product of "
            f"{dataset.path}. Score the queries of the split `train`."
        )
    return pd.DataFrame(
        {
            "query": queries[known["query_id"]].to_numpy(),
            "product": products[known["product_id"]].to_numpy(),
            "score": known["score"].to_numpy(),
        }
    )
