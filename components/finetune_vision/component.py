"""Stage A of the training: the shop's photographs."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def finetune_vision(
    dataset: dsl.Input[dsl.Dataset],
    text_only: dsl.Input[dsl.Model],
    settings: str,
    workspace: str,
    code_version: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Adapts the vision backbone to the shop: image and product text, contrastive.

    Args:
        dataset: Directory written by `import_data`.
        text_only: Model written by `train_text_only`; the image tower joins its space.
        settings: `VisionStageSettings` as JSON.
        workspace: Workspace directory; checkpoints of a killed step wait in its cache.
        code_version: Hash of the library's source, so that new code misses the step cache.
        model: The model directory.
        metrics: Steps taken and the best validation figures.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.training import VisionStageSettings
    from mmr.workspace import Workspace

    with step("finetune_vision", metrics) as current:
        report = stages.finetune_vision(
            dataset=Path(dataset.path),
            text_only=Path(text_only.path),
            out=Path(model.path),
            settings=VisionStageSettings.model_validate_json(settings),
            cache=Workspace.open(Path(workspace), create=True).cache,
        )
        current.log(report.as_metrics())
