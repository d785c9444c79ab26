"""The stage `check_refresh`: may the refreshed catalogue replace that of the champion?

OUT/gate.json          decision, reasons, metrics, comparison, as `evaluate_gate` records them
OUT/per_query.parquet  query_id, query, system, one column per metric; where queries are judged
OUT/changes.json, OUT/changes.parquet   what changed, product by product
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from mmr.atomic import new_directory, write_json
from mmr.config.gate import Metric
from mmr.config.refresh import RefreshConfig
from mmr.data.dataset import Dataset
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.evaluation.reason import Reason
from mmr.evaluation.refresh import GoldenAnswers, refresh_reasons, refused
from mmr.evaluation.significance import PairedComparison, compare_paired
from mmr.evaluation.systems import SystemScores, Task, score_system
from mmr.indexing import ProductIndex
from mmr.release.bundle import Release
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.catalogue_changes import (
    CHANGES_FILE,
    CHANGES_TABLE,
    ChangeReport,
    read_kinds,
    read_report,
)
from mmr.stages.exam import exam_of
from mmr.stages.gate_record import FORMAT_VERSION
from mmr.types import Float32Array

GOLDEN_DEPTH = 10
_CANDIDATE, _CHAMPION = "candidate", "champion"


@dataclass(frozen=True)
class RefreshVerdict:
    """What came of the check.

    Attributes:
        decision: `promote` or `reject`.
        reasons: Every rule, passed or not.
        metrics: Means by `side/metric`, where queries are judged.
    """

    decision: Literal["promote", "reject"]
    reasons: list[Reason]
    metrics: dict[str, float]

    @property
    def refusal(self) -> str:
        """The rules that do not hold, in one line; empty where all do."""
        return "; ".join(f"{reason.rule}: {reason.detail}" for reason in refused(self.reasons))


def check_refresh(
    *,
    dataset: Path,
    vectors: Path,
    index: Path,
    champion: Path,
    out: Path,
    settings: RefreshConfig,
    dataset_revision: str | None = None,
    git_revision: str | None = None,
) -> RefreshVerdict:
    """Compares a refreshed index with that of the champion, by all that can be measured.

    Judged queries are those of the dataset, or those that the champion was examined with where the
    feed brought none. Only judgements of products that both catalogues hold count: a product that
    the shop has no more is nobody's miss.

    Args:
        dataset: The catalogue as it is now.
        vectors: Directory written by `embed_changes`.
        index: Built from these vectors.
        champion: Directory of the release that is refreshed.
        out: Directory to write; appears whole or not at all.
        settings: The policy.
        dataset_revision: DVC's hash of the dataset, if it has one.
        git_revision: Commit of the code.

    Raises:
        CorruptArtifactError: A file of the champion differs from its recorded hash.
        IndexMismatchError: The index belongs to another encoder than the champion's.
        ArtifactError: A directory is not what it should be.
    """
    data, release = Dataset(dataset), Release.open(champion, verify="hashes")
    changes = read_report(vectors)
    fingerprint = release.manifest.encoder_fingerprint
    before = ProductIndex.open(release.index_dir, encoder_fingerprint=fingerprint, verify=False)
    after = ProductIndex.open(index, encoder_fingerprint=fingerprint)
    scores = _score(data, release, before, after)
    comparisons = _compare(scores, settings) if scores else {}
    reasons = refresh_reasons(
        removed_share=changes.removed_share,
        coverage=(before.coverage, after.coverage),
        recall=(before.manifest.recall_at_100, after.manifest.recall_at_100),
        golden=_golden_answers(release, after, read_kinds(vectors)),
        judged=comparisons.get(settings.primary_metric),
        config=settings,
    )
    verdict = RefreshVerdict(
        "reject" if refused(reasons) else "promote", reasons, _flat(scores, changes)
    )
    record = {
        **_record(verdict, data, release, settings),
        **_figures(scores, comparisons, release),
        "changes": asdict(changes),
    }
    record["lineage"] |= {"dataset_revision": dataset_revision, "git_revision": git_revision}
    _write(out, record, scores, data=data, release=release, vectors=vectors)
    return verdict


def _record(
    verdict: RefreshVerdict, data: Dataset, release: Release, settings: RefreshConfig
) -> dict[str, Any]:
    """What was decided about what, by which policy."""
    fingerprint = release.manifest.encoder_fingerprint
    return {
        "format_version": FORMAT_VERSION,
        "kind": "refresh",
        "decision": verdict.decision,
        "reasons": [asdict(reason) for reason in verdict.reasons],
        "baseline_name": f"champion {release.release_id}",
        "primary_metric": settings.primary_metric,
        "policy": settings.model_dump(mode="json"),
        "lineage": {
            "decision": verdict.decision,
            "parent_release": release.release_id,
            "dataset": data.manifest.name,
            "dataset_hash": data.manifest.content_hash,
            "candidate_fingerprint": fingerprint,
            "champion_fingerprint": fingerprint,
        },
        "versions": {"metrics": METRIC_VERSION, "mmr": version("mmr")},
        "mlflow_run_id": None,
    }


def _score(
    data: Dataset, release: Release, before: ProductIndex, after: ProductIndex
) -> dict[str, SystemScores]:
    """Both catalogues on the judged queries; nothing where there are none."""
    exam = exam_of(data, release)
    both = set(before.product_ids) & set(after.product_ids)
    judgements = exam.judgements[exam.judgements["product_id"].isin(both)]
    task = Task.of(exam.queries, judgements, after.product_ids)
    if not len(task.queries):
        return {}
    encoder = OnnxQueryEncoder(release.query_encoder_dir, threads=0)
    queries = encoder.encode(list(task.queries["query"]))

    def score(key: str, index: ProductIndex) -> SystemScores:
        answered = Task(task.queries, task.judgements, index.product_ids)
        return score_system(key, answered, query_vectors=queries, product_vectors=index.vectors())

    return {_CANDIDATE: score(_CANDIDATE, after), _CHAMPION: score(_CHAMPION, before)}


def _compare(
    scores: Mapping[str, SystemScores], settings: RefreshConfig
) -> dict[Metric, PairedComparison]:
    candidate, champion = scores[_CANDIDATE].per_query, scores[_CHAMPION].per_query
    return {
        name: compare_paired(
            candidate[name].to_numpy(dtype=np.float64),
            champion[name].to_numpy(dtype=np.float64),
            confidence=settings.confidence,
            resamples=settings.resamples,
            seed=settings.seed,
        )
        for name in METRICS
    }


def _golden_answers(
    release: Release, after: ProductIndex, kinds: Mapping[str, str]
) -> GoldenAnswers:
    golden = release.golden_queries()
    embeddings: Float32Array = np.asarray([query.embedding for query in golden], np.float32)
    rows, _ = after.search(embeddings, GOLDEN_DEPTH)
    place = {name: row for row, name in enumerate(after.product_ids)}
    overlaps, differences = [], []
    for query, embedding, answer in zip(golden, embeddings, rows, strict=True):
        present = [name for name in query.product_ids if name in place]
        found = {after.product_ids[row] for row in answer}
        if present:
            overlaps.append(len(found.intersection(present)) / len(present))
        for name, score in zip(query.product_ids, query.scores, strict=True):
            if name not in kinds:  # neither new, changed nor removed
                now = float(after.vectors(place[name], 1)[0] @ embedding)
                differences.append(abs(now - score))
    return GoldenAnswers(
        queries=len(golden),
        unchanged=len(differences),
        max_score_change=max(differences, default=0.0),
        mean_overlap=float(np.mean(overlaps)) if overlaps else 0.0,
    )


def _figures(
    scores: Mapping[str, SystemScores],
    comparisons: Mapping[Metric, PairedComparison],
    release: Release,
) -> dict[str, Any]:
    metrics = {key: {"overall": system.overall(), "slices": {}} for key, system in scores.items()}
    comparison = {
        "reference": f"champion {release.release_id}",
        "overall": {name: asdict(value) for name, value in comparisons.items()},
        "slices": {},
    }
    judged = {_CHAMPION: comparison, "baseline": comparison} if comparisons else {}
    if metrics:
        metrics["baseline"] = metrics[_CHAMPION]
    return {"metrics": metrics, "comparisons": judged, "slices": {}}


def _flat(scores: Mapping[str, SystemScores], changes: ChangeReport) -> dict[str, float]:
    flat = {
        f"{key}/{name}": value
        for key, system in scores.items()
        for name, value in system.overall().items()
        if name in METRICS
    }
    return {**flat, **changes.as_metrics()}


def _write(
    out: Path,
    record: Mapping[str, Any],
    scores: Mapping[str, SystemScores],
    *,
    data: Dataset,
    release: Release,
    vectors: Path,
) -> None:
    again = (out / "gate.json").is_file()  # a step that was killed right after writing
    with new_directory(out, replace=again) as scratch:
        if scores:
            table = _per_query(scores, exam_of(data, release).queries)
            table.to_parquet(scratch / "per_query.parquet", index=False)
        for name in (CHANGES_FILE, CHANGES_TABLE):
            shutil.copyfile(vectors / name, scratch / name)
        write_json(scratch / "gate.json", dict(record))


def _per_query(scores: Mapping[str, SystemScores], queries: pd.DataFrame) -> pd.DataFrame:
    texts = queries.set_index("query_id")["query"]
    frames = [
        system.per_query.reset_index().assign(
            system=key, query=lambda rows: rows["query_id"].map(texts)
        )
        for key, system in scores.items()
    ]
    return pd.concat(frames, ignore_index=True)[["query_id", "query", "system", *METRICS]]
