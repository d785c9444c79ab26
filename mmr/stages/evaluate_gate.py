"""The stage `evaluate_gate`: candidate against champion, query by query, and a decision.

OUT/gate.json          decision, reasons, metrics, comparisons, worst queries, run id, versions
OUT/per_query.parquet  query_id, query, system, one column per metric
OUT/gate.md            the same for people, as short as it can be
OUT/report.html        the same with pictures; needs no other file
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr.atomic import new_directory, write_json
from mmr.config.gate import GateConfig
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.evaluation.evaluate import Evaluation, evaluate_candidate
from mmr.evaluation.reason import Decision, Reason
from mmr.evaluation.report import plan_report
from mmr.evaluation.systems import Task, score_system
from mmr.release.bundle import EVIDENCE, PRODUCT_ENCODER, Release
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
    tower where there is none; the comparison with the latter is always reported. A champion of a
    format that this mmr cannot run is compared with nobody: the candidate is held for a person. The
    candidate's index, its export and its speed on this machine are measured here too: one decision.

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
    field = _Field.of(data, candidate, champion=champion, baseline=baseline, cache=cache)
    evaluation = _evaluate(data, field, index=index, settings=settings)
    lineage = {
        "dataset_revision": dataset_revision,
        "git_revision": git_revision,
        "champion_rescored": None if field.unscored else rescored(champion, data),
    }
    metrics = flat_metrics(evaluation, field.contenders)
    again = (out / "gate.json").is_file()  # a step that was killed right after writing
    with new_directory(out, replace=again) as scratch:
        record = _write_evidence(scratch, evaluation, field.contenders, data, lineage, cache=cache)
        run_id = tracker.log_run(
            name=f"{data.manifest.name} {field.contenders[0].fingerprint[:12]}",
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
        baseline_name=field.contenders[1].name,
        metrics=metrics,
        run_id=run_id,
    )


def _write_evidence(
    out: Path,
    evaluation: Evaluation,
    contenders: list[Contender],
    data: Dataset,
    lineage: Mapping[str, str | None],
    *,
    cache: Path,
) -> dict[str, Any]:
    """Writes all files of the stage; returns the content of `gate.json`, still without a run id."""
    worst, plan = worst_examples(evaluation, data), plan_report(evaluation)
    modalities = report_modalities(
        evaluation, plan, model=contenders[0].model, dataset=data, cache=cache
    )
    record = gate_record(evaluation, contenders, data, lineage, worst)
    record["modalities"] = modalities.summary and modalities.summary.as_json()
    write_json(out / "gate.json", record)
    per_query_table(evaluation, contenders).to_parquet(out / "per_query.parquet", index=False)
    write_pages(out, evaluation, plan, modalities, record, data, worst=worst)
    return record


@dataclass(frozen=True)
class _Vectors:
    """`(queries, dim)` and `(products, dim)` of one contender."""

    queries: Float32Array
    products: Float32Array


@dataclass(frozen=True)
class _Field:
    """All who take part.

    Attributes:
        task: What they answer.
        contenders: The candidate first, then what it is compared with, the deciding one before
            the other.
        vectors: Theirs, in the same order.
        unscored: Why the champion takes no part, although there is one.
    """

    task: Task
    contenders: list[Contender]
    vectors: list[_Vectors]
    unscored: str | None

    @classmethod
    def of(
        cls, data: Dataset, candidate: Path, *, champion: Path | None, baseline: Path, cache: Path
    ) -> _Field:
        """Embeds queries and catalogue with every model."""
        task, unscored = validation_task(data), None
        contenders = [Contender.of("candidate", "candidate", candidate)]
        vectors = [_embed(contenders[0], task, data, cache=cache)]
        if champion is not None:
            try:
                contender = _champion(champion)
                vectors.append(_embed(contender, task, data, cache=cache))
                contenders.append(contender)
            except CorruptArtifactError:
                raise
            except ArtifactError as error:  # of another format: whole, and yet of no use here
                unscored = str(error)
        contenders.append(Contender.of("text_only", TEXT_ONLY, baseline))
        vectors.append(_embed(contenders[-1], task, data, cache=cache))
        return cls(task, contenders, vectors, unscored)


def _champion(release: Path) -> Contender:
    opened = Release.open(release)
    opened.verify(PRODUCT_ENCODER, EVIDENCE)
    return Contender.of("champion", f"champion {opened.release_id}", opened.model_dir)


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


def _evaluate(data: Dataset, field: _Field, *, index: Path, settings: GateConfig) -> Evaluation:
    candidate, first = field.contenders[0], field.contenders[1]
    scores = [
        score_system(side.name, field.task, query_vectors=v.queries, product_vectors=v.products)
        for side, v in zip(field.contenders, field.vectors, strict=True)
    ]
    measured = measure_candidate(
        data,
        model=candidate.model,
        fingerprint=candidate.fingerprint,
        index=index,
        texts=list(field.task.queries["query"]),
        query_vectors=field.vectors[0].queries,
        config=settings,
    )
    return evaluate_candidate(
        field.task,
        candidate=scores[0],
        references=scores[1:],
        products=catalogue_facts(data),
        same_encoder=candidate.fingerprint == first.fingerprint,
        unscored_champion=field.unscored,
        measured=measured,
        config=settings,
    )
