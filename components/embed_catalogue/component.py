"""The step that turns every product into a vector."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def embed_catalogue(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    workspace: str,
    code_version: str,
    vectors: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Embeds the whole catalogue with the candidate's product tower.

    Args:
        dataset: Directory written by `import_data`.
        model: Model written by `train_fusion`.
        workspace: Workspace directory; embeddings are kept in its cache.
        code_version: Hash of the library's source, so that new code misses the step cache.
        vectors: Vectors, product ids, and the fingerprint of the encoder.
        metrics: Rows and how many had text and an image.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.workspace import Workspace

    with step("embed_catalogue", metrics) as current:
        report = stages.embed_catalogue(
            dataset=Path(dataset.path),
            model=Path(model.path),
            out=Path(vectors.path),
            cache=Workspace.open(Path(workspace), create=True).cache,
        )
        current.log(report.as_metrics())
