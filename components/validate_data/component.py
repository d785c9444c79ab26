"""The step that proves a dataset keeps its contract."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def validate_data(
    dataset: dsl.Input[dsl.Dataset],
    previous: str,
    settings: str,
    workspace: str,
    code_version: str,
    validation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Checks rows, references, images, leaks and drift; an error stops the pipeline.

    Args:
        dataset: Directory written by `import_data`.
        previous: The last dataset's directory, to compare with; empty when there is none.
        settings: `ValidationConfig` as JSON.
        workspace: Workspace directory; its cache knows photographs that were decoded before.
        code_version: Hash of the library's source, so that new code misses the step cache.
        validation: `validation.json` and the Data Docs.
        metrics: Expectations met, warned about, failed.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.config.data import ValidationConfig
    from mmr.workspace import Workspace

    with step("validate_data", metrics) as current:
        report = stages.validate_data(
            dataset=Path(dataset.path),
            out=Path(validation.path),
            settings=ValidationConfig.model_validate_json(settings),
            previous=Path(previous) if previous else None,
            cache=Workspace.open(Path(workspace), create=True).cache,
        )
        current.log(report.as_metrics())
