"""Stage B of the training: queries meet text and image."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def align_queries(
    dataset: dsl.Input[dsl.Dataset],
    vision: dsl.Input[dsl.Model],
    settings: str,
    workspace: str,
    code_version: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Aligns queries with product text and with product image, each modality by itself.

    Args:
        dataset: Directory written by `import_data`.
        vision: Model written by `finetune_vision`.
        settings: `AlignStageSettings` as JSON.
        workspace: Workspace directory; checkpoints of a killed step wait in its cache.
        code_version: Hash of the library's source, so that new code misses the step cache.
        model: The model directory.
        metrics: Steps taken and the best validation figures.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.training import AlignStageSettings
    from mmr.workspace import Workspace

    with step("align_queries", metrics) as current:
        report = stages.align_queries(
            dataset=Path(dataset.path),
            vision=Path(vision.path),
            out=Path(model.path),
            settings=AlignStageSettings.model_validate_json(settings),
            cache=Workspace.open(Path(workspace), create=True).cache,
        )
        current.log(report.as_metrics())
