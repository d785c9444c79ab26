"""The step that decides whether a refreshed catalogue may replace the champion's."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def check_refresh(
    dataset: dsl.Input[dsl.Dataset],
    vectors: dsl.Input[dsl.Dataset],
    index: dsl.Input[dsl.Artifact],
    champion: str,
    settings: str,
    lineage: str,
    gate: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Checks that nothing got lost: products, coverage, recall, golden and judged queries.

    Args:
        dataset: Directory written by `import_data`.
        vectors: Directory written by `embed_changes`.
        index: Directory written by `build_index`.
        champion: Directory of the release in production.
        settings: `RefreshConfig` as JSON.
        lineage: `git_revision` and `dataset_revision`, as JSON.
        gate: `gate.json`, what changed, and figures per query where queries are judged.
        metrics: Retrieval metrics of both catalogues, and counts.

    Returns:
        `promote` or `reject`: the only value that the pipeline's conditions read.
    """
    import json
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.refresh import RefreshConfig

    with step("check_refresh", metrics) as current:
        verdict = stages.check_refresh(
            dataset=Path(dataset.path),
            vectors=Path(vectors.path),
            index=Path(index.path),
            champion=Path(champion),
            out=Path(gate.path),
            settings=RefreshConfig.model_validate_json(settings),
            **json.loads(lineage),
        )
        current.log(verdict.metrics)
        current.note(decision=verdict.decision, refusal=verdict.refusal, gate=gate.path)
    return verdict.decision
