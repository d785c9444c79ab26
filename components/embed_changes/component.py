"""The step that embeds new and changed products and takes over the champion's other vectors."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def embed_changes(
    dataset: dsl.Input[dsl.Dataset],
    champion: str,
    settings: str,
    workspace: str,
    code_version: str,
    vectors: dsl.Output[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Merges a newer catalogue into the champion's vectors; too many removed products stop it.

    Args:
        dataset: Directory written by `import_data`.
        champion: Directory of the release in production.
        settings: `RefreshConfig` as JSON.
        workspace: Workspace directory; embeddings are kept in its cache.
        code_version: Hash of the library's source, so that new code misses the step cache.
        vectors: Vectors, product ids, the fingerprint of the encoder, and what changed.
        model: The champion's product encoder.
        metrics: Products new, changed, removed; vectors reused and embedded.

    Returns:
        `changed` or `unchanged`.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.refresh import RefreshConfig
    from mmr.workspace import Workspace

    with step("embed_changes", metrics) as current:
        report = stages.embed_changes(
            dataset=Path(dataset.path),
            champion=Path(champion),
            out=Path(vectors.path),
            model_out=Path(model.path),
            settings=RefreshConfig.model_validate_json(settings),
            workspace=Workspace.open(Path(workspace), create=True),
        )
        current.log(report.as_metrics())
    return "changed" if report.has_changes else "unchanged"
