"""The stage `evaluate_gate`: candidate against champion, query by query, and a decision.

OUT/gate.json          decision, reasons, metrics, comparisons, run id, versions
OUT/per_query.parquet  query_id, query, system, one column per metric
OUT/report.html        the same for people, with pictures; needs no other file
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mmr.atomic import new_directory, write_json, write_text
from mmr.config.gate import GateConfig
from mmr.data.dataset import Dataset
from mmr.errors import CorruptArtifactError
from mmr.evaluation.evaluate import Evaluation, evaluate_candidate
from mmr.evaluation.examples import thumbnail
from mmr.evaluation.gate import Decision, Reason
from mmr.evaluation.modalities import ModalityReport
from mmr.evaluation.report import ReportPlan, plan_report, render_report
from mmr.evaluation.systems import SystemScores, Task, score_system
from mmr.release.bundle import Release
from mmr.stages.gate_record import (
    Contender,
    flat_metrics,
    gate_record,
    per_query_table,
    run_parameters,
    training_record,
)
from mmr.stages.report_modalities import report_modalities
from mmr.stages.validation_task import catalogue_facts, validation_task

if TYPE_CHECKING:
    from mmr.tracking import Tracker

TEXT_ONLY = "tuned text-only"
_IMAGE_ROWS = 1024


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
    code; stored figures of a champion are never used. The candidate is compared with the
    champion, or with the tuned text-only tower where there is none; the comparison with the
    latter is always reported.

    Args:
        dataset: A prepared dataset.
        candidate: Model directory of the candidate.
        baseline: Model directory of the tuned text-only tower.
        champion: Directory of the release in production.
        out: Directory to write; appears whole or not at all.
        settings: The policy.
        cache: Where embeddings are kept.
        tracker: Receives parameters, metrics, training history and the report.
        dataset_revision: DVC's hash of the dataset, if it has one.
        git_revision: Commit of the code that trained.

    Raises:
        DataContractError: The dataset has no judged validation query.
        ArtifactError: A model cannot be read, or `out` holds something else.
        TrackingError: The tracker refused; nothing is written then.
    """
    data = Dataset(dataset)
    task = validation_task(data)
    contenders = _contenders(candidate=candidate, baseline=baseline, champion=champion)
    scores = {contender.key: _score(contender, task, data, cache=cache) for contender in contenders}
    evaluation = evaluate_candidate(
        task,
        candidate=scores["candidate"],
        references=[scores[contender.key] for contender in contenders[1:]],
        products=catalogue_facts(data),
        same_encoder=contenders[0].fingerprint == contenders[1].fingerprint,
        config=settings,
    )
    again = (out / "gate.json").is_file()  # a step that was killed right after writing
    with new_directory(out, replace=again) as scratch:
        lineage = {"dataset_revision": dataset_revision, "git_revision": git_revision}
        record = gate_record(evaluation, scores, contenders, data, lineage)
        plan = plan_report(evaluation)
        modalities = report_modalities(evaluation, plan, model=candidate, dataset=data, cache=cache)
        record["modalities"] = modalities.summary and modalities.summary.as_json()
        write_json(scratch / "gate.json", record)
        per_query = per_query_table(scores, task.queries)
        per_query.to_parquet(scratch / "per_query.parquet", index=False)
        page = _report(evaluation, plan, modalities, record, data)
        write_text(scratch / "report.html", page)
        metrics = flat_metrics(evaluation, scores)
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


def _contenders(*, candidate: Path, baseline: Path, champion: Path | None) -> list[Contender]:
    """The candidate first, then what it is compared with, the deciding one before the other."""
    contenders = [Contender.of("candidate", "candidate", candidate)]
    if champion is not None:
        release = Release.open(champion)
        name = f"champion {release.manifest.release_id}"
        contenders.append(Contender.of("champion", name, release.model_dir))
    return [*contenders, Contender.of("text_only", TEXT_ONLY, baseline)]


def _score(contender: Contender, task: Task, data: Dataset, *, cache: Path) -> SystemScores:
    from mmr.stages.embedding import embed_products, embed_queries  # loads torch

    products = embed_products(contender.model, data, cache=cache)
    if products.product_ids != task.product_ids:
        raise CorruptArtifactError(
            f"The cached embeddings of {contender.name} are not those of {data.path}. "
            f"Remove {cache} and run again."
        )
    queries = embed_queries(contender.model, list(task.queries["query"]), cache=cache)
    return score_system(
        contender.name, task, query_vectors=queries, product_vectors=products.vectors
    )


def _report(
    evaluation: Evaluation,
    plan: ReportPlan,
    modalities: ModalityReport,
    record: Mapping[str, Any],
    data: Dataset,
) -> str:
    table = data.product_table(["product_id", "title"])
    table = table.filter(
        pc.is_in(table["product_id"], value_set=pa.array(plan.product_ids, pa.string()))
    )
    facts = {**record["lineage"], **{f"{k} version": v for k, v in record["versions"].items()}}
    return render_report(
        evaluation,
        plan,
        titles={row["product_id"]: row["title"] or "" for row in table.to_pylist()},
        pictures=_pictures(data, set(plan.product_ids)),
        facts={name.replace("_", " "): str(value) for name, value in facts.items() if value},
        modalities=modalities,
    )


def _pictures(data: Dataset, wanted: Collection[str]) -> dict[str, str]:
    """Thumbnails of the wanted products, for those whose image can be shown."""
    pictures: dict[str, str] = {}
    missing = set(wanted)
    names = pa.array(sorted(missing), pa.string())
    for batch in data.product_batches(["product_id", "image"], rows=_IMAGE_ROWS):
        if not missing:
            break
        for row in batch.filter(pc.is_in(batch["product_id"], value_set=names)).to_pylist():
            missing.discard(row["product_id"])
            image = row["image"]
            picture = thumbnail(image["bytes"]) if image and image["bytes"] else None
            if picture:
                pictures[row["product_id"]] = picture
    return pictures
