"""The baseline: a tuned text-only tower."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def train_text_only(
    dataset: dsl.Input[dsl.Dataset],
    settings: str,
    workspace: str,
    code_version: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Trains the text-only towers that every gain is measured against.

    Args:
        dataset: Directory written by `import_data`.
        settings: `TextOnlyStageSettings` as JSON.
        workspace: Workspace directory; checkpoints of a killed step wait in its cache.
        code_version: Hash of the library's source, so that new code misses the step cache.
        model: The model directory.
        metrics: Steps taken and the best validation figures.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.training import TextOnlyStageSettings
    from mmr.workspace import Workspace

    with step("train_text_only", metrics) as current:
        report = stages.train_text_only(
            dataset=Path(dataset.path),
            out=Path(model.path),
            settings=TextOnlyStageSettings.model_validate_json(settings),
            cache=Workspace.open(Path(workspace), create=True).cache,
        )
        current.log(report.as_metrics())
