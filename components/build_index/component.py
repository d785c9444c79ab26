"""The step that builds the search index."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def build_index(
    vectors: dsl.Input[dsl.Dataset],
    settings: str,
    code_version: str,
    index: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Builds the Faiss index; too little recall against exact search stops the pipeline.

    Args:
        vectors: Directory written by `embed_catalogue`.
        settings: `IndexConfig` as JSON.
        code_version: Hash of the library's source, so that new code misses the step cache.
        index: The index with its product ids and the fingerprint of its encoder.
        metrics: Recall against exact search, and rows.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.index import IndexConfig

    with step("build_index", metrics) as current:
        report = stages.build_index(
            vectors=Path(vectors.path),
            out=Path(index.path),
            settings=IndexConfig.model_validate_json(settings),
        )
        current.log(report.as_metrics())
