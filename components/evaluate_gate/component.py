"""The step that decides whether the candidate may follow."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def evaluate_gate(
    dataset: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Model],
    baseline: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Artifact],
    champion: str,
    settings: str,
    lineage: str,
    workspace: str,
    tracking_uri: str,
    code_version: str,
    gate: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Compares the candidate with the champion, query by query, and decides.

    Args:
        dataset: Directory written by `import_data`.
        candidate: Model written by `train_fusion`.
        baseline: Model written by `train_text_only`.
        index: Index of the candidate's vectors, written by `build_index`.
        champion: Directory of the release in production; empty when there is none. A parameter,
            so that another champion misses the step cache.
        settings: `GateConfig` as JSON.
        lineage: `git_revision` and `dataset_revision`, as JSON.
        workspace: Workspace directory; embeddings are kept in its cache.
        tracking_uri: Where MLflow logs the run.
        code_version: Hash of the library's source, so that new code misses the step cache.
        gate: `gate.json`, figures per query, and the report as Markdown and HTML.
        metrics: Retrieval metrics of all systems; index recall, parity and latency.

    Returns:
        `promote`, `hold` or `reject`: the only value that the pipeline's conditions read.
    """
    import json
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.gate import GateConfig
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace

    with step("evaluate_gate", metrics) as current:
        report = stages.evaluate_gate(
            dataset=Path(dataset.path),
            candidate=Path(candidate.path),
            baseline=Path(baseline.path),
            index=Path(index.path),
            champion=Path(champion) if champion else None,
            out=Path(gate.path),
            settings=GateConfig.model_validate_json(settings),
            cache=Workspace.open(Path(workspace), create=True).cache,
            tracker=open_tracking(tracking_uri),
            **json.loads(lineage),
        )
        current.log(report.as_metrics())
        current.note(decision=report.decision)
    return report.decision
