"""Stage C of the training: one product vector from text and image."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def train_fusion(
    dataset: dsl.Input[dsl.Dataset],
    aligned: dsl.Input[dsl.Model],
    settings: str,
    workspace: str,
    code_version: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Trains the fusion network against queries, stage B's losses kept beside.

    Args:
        dataset: Directory written by `import_data`.
        aligned: Model written by `align_queries`.
        settings: `FusionStageSettings` as JSON.
        workspace: Workspace directory; checkpoints of a killed step wait in its cache.
        code_version: Hash of the library's source, so that new code misses the step cache.
        model: The model directory.
        metrics: Steps taken and the best validation figures.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.training import FusionStageSettings
    from mmr.workspace import Workspace

    with step("train_fusion", metrics) as current:
        report = stages.train_fusion(
            dataset=Path(dataset.path),
            aligned=Path(aligned.path),
            out=Path(model.path),
            settings=FusionStageSettings.model_validate_json(settings),
            cache=Workspace.open(Path(workspace), create=True).cache,
        )
        current.log(report.as_metrics())
