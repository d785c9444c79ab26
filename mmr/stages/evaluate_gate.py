"""The stage `evaluate_gate`: candidate against champion, query by query, and a decision.

OUT/gate.json          decision, reasons, metrics, comparisons, worst queries, run id, versions
OUT/per_query.parquet  query_id, query, system, one column per metric
OUT/gate.md            the same for people, as short as it can be
OUT/report.html        the same with pictures; needs no other file
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmr.atomic import new_directory, write_json
from mmr.config.gate import GateConfig
from mmr.data.dataset import Dataset
from mmr.errors import CorruptArtifactError
from mmr.evaluation.evaluate import Evaluation, evaluate_candidate
from mmr.evaluation.reason import Decision, Reason
from mmr.evaluation.report import plan_report
from mmr.evaluation.systems import Task, score_system
from mmr.release.bundle import Release
from mmr.stages.gate_measurements import measure_candidate
from mmr.stages.gate_pages import worst_examples, write_pages
from mmr.stages.gate_record import (
    Contender,
    flat_metrics,
    gate_record,
    per_query_table,
    rescored,
    run_parameters,
    training_record,
)
from mmr.stages.report_modalities import report_modalities
from mmr.stages.validation_task import catalogue_facts, validation_task
from mmr.types import Float32Array

if TYPE_CHECKING:
    from mmr.tracking import Tracker

TEXT_ONLY = "tuned text-only"


@dataclass(frozen=True)
class GateReport:
    """The gate's decision.

    Attributes:
        decision: `promote`, `hold` or `reject`.
        reasons: Every rule, passed or not.
        baseline_name: What the decision compares with: `champion <release id>`, or
            `tuned text-only` when there is no champion.
        metrics: Means by `side/metric`, sides `candidate`, `champion`, `text_only`; and the gain
            in the primary metric over that baseline as `gate/...`.
        run_id: The tracker's run.
    """

    decision: Decision
    reasons: list[Reason]
    baseline_name: str
    metrics: dict[str, float]
    run_id: str

    def as_metrics(self) -> dict[str, float]:
        """The metrics, for a tracker or a pipeline."""
        return dict(self.metrics)


def evaluate_gate(
    *,
    dataset: Path,
    candidate: Path,
    baseline: Path,
    index: Path,
    champion: Path | None,
    out: Path,
    settings: GateConfig,
    cache: Path,
    tracker: Tracker,
    dataset_revision: str | None = None,
    git_revision: str | None = None,
) -> GateReport:
    """Decides whether a candidate may replace what is in production.

    All systems answer the same validation queries over the same, present catalogue with the same
    code; stored figures of a champion are never used, whatever dataset schema or metric version it
    was released with. The candidate is compared with the champion, or with the tuned text-only
    tower where there is none; the comparison with the latter is always reported. The candidate's
    index, its export and its speed on this machine are measured here too: one decision.

    Args:
        dataset: A prepared dataset.
        candidate: Model directory of the candidate.
        baseline: Model directory of the tuned text-only tower.
        index: Directory written by `build_index` with the candidate's vectors.
        champion: Directory of the release in production.
        out: Directory to write; appears whole or not at all.
        settings: The policy.
        cache: Where embeddings are kept.
        tracker: Receives parameters, metrics, training history and the report.
        dataset_revision: DVC's hash of the dataset, if it has one.
        git_revision: Commit of the code that trained.

    Raises:
        DataContractError: The dataset has no judged validation query.
        IndexMismatchError: The index belongs to another encoder or dataset.
        ArtifactError: A model or the index cannot be read, or `out` holds something else.
        TrackingError: The tracker refused; nothing is written then.
    """
    data = Dataset(dataset)
    contenders = _contenders(candidate=candidate, baseline=baseline, champion=champion)
    evaluation = _evaluate(data, contenders, index=index, settings=settings, cache=cache)
    worst = worst_examples(evaluation, data)
    lineage = {
        "dataset_revision": dataset_revision,
        "git_revision": git_revision,
        "champion_rescored": rescored(champion, data),
    }
    metrics = flat_metrics(evaluation, contenders)
    again = (out / "gate.json").is_file()  # a step that was killed right after writing
    with new_directory(out, replace=again) as scratch:
        plan = plan_report(evaluation)
        modalities = report_modalities(evaluation, plan, model=candidate, dataset=data, cache=cache)
        record = gate_record(evaluation, contenders, data, lineage, worst)
        record["modalities"] = modalities.summary and modalities.summary.as_json()
        write_json(scratch / "gate.json", record)
        per_query_table(evaluation, contenders).to_parquet(
            scratch / "per_query.parquet", index=False
        )
        write_pages(scratch, evaluation, plan, modalities, record, data, worst=worst)
        run_id = tracker.log_run(
            name=f"{data.manifest.name} {contenders[0].fingerprint[:12]}",
            params=run_parameters(settings, candidate),
            metrics=metrics,
            history=training_record(candidate).get("history", []),
            tags={name: str(value) for name, value in record["lineage"].items() if value},
            artifacts=scratch,
        )
        write_json(scratch / "gate.json", {**record, "mlflow_run_id": run_id})
    return GateReport(
        decision=evaluation.verdict.decision,
        reasons=evaluation.verdict.reasons,
        baseline_name=contenders[1].name,
        metrics=metrics,
        run_id=run_id,
    )


def _evaluate(
    data: Dataset, contenders: list[Contender], *, index: Path, settings: GateConfig, cache: Path
) -> Evaluation:
    task = validation_task(data)
    candidate = contenders[0]
    vectors = [_embed(contender, task, data, cache=cache) for contender in contenders]
    scores = [
        score_system(side.name, task, query_vectors=v.queries, product_vectors=v.products)
        for side, v in zip(contenders, vectors, strict=True)
    ]
    measured = measure_candidate(
        data,
        model=candidate.model,
        fingerprint=candidate.fingerprint,
        index=index,
        texts=list(task.queries["query"]),
        query_vectors=vectors[0].queries,
        config=settings,
    )
    return evaluate_candidate(
        task,
        candidate=scores[0],
        references=scores[1:],
        products=catalogue_facts(data),
        same_encoder=candidate.fingerprint == contenders[1].fingerprint,
        measured=measured,
        config=settings,
    )


def _contenders(*, candidate: Path, baseline: Path, champion: Path | None) -> list[Contender]:
    """The candidate first, then what it is compared with, the deciding one before the other."""
    contenders = [Contender.of("candidate", "candidate", candidate)]
    if champion is not None:
        release = Release.open(champion)
        name = f"champion {release.manifest.release_id}"
        contenders.append(Contender.of("champion", name, release.model_dir))
    return [*contenders, Contender.of("text_only", TEXT_ONLY, baseline)]


@dataclass(frozen=True)
class _Vectors:
    """`(queries, dim)` and `(products, dim)` of one contender."""

    queries: Float32Array
    products: Float32Array


def _embed(contender: Contender, task: Task, data: Dataset, *, cache: Path) -> _Vectors:
    from mmr.stages.embedding import embed_products, embed_queries  # loads torch

    products = embed_products(contender.model, data, cache=cache)
    if products.product_ids != task.product_ids:
        raise CorruptArtifactError(
            f"The cached embeddings of {contender.name} are not those of {data.path}. "
            f"Remove {cache} and run again."
        )
    queries = embed_queries(contender.model, list(task.queries["query"]), cache=cache)
    return _Vectors(queries, products.vectors)
