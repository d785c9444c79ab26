"""The step that seals everything that serves into one release."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def register_release(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    index: dsl.Input[dsl.Artifact],
    gate: dsl.Input[dsl.Artifact],
    validation: dsl.Input[dsl.Artifact],
    parent: str,
    settings: str,
    lineage: str,
    workspace: str,
    tracking_uri: str,
) -> str:
    """Writes the immutable release directory and registers it as a model version.

    Args:
        dataset: Directory written by `import_data`.
        model: Model written by `train_fusion` or `embed_changes`.
        index: Directory written by `build_index`.
        gate: Directory written by `evaluate_gate` or `check_refresh`.
        validation: Directory written by `validate_data`; its record becomes evidence.
        parent: Directory of the release that is refreshed; empty for a trained one.
        settings: All settings of the run, as JSON.
        lineage: `git_revision` and `dataset_revision`, as JSON.
        workspace: Workspace directory; the release appears below its `releases/`.
        tracking_uri: Where MLflow keeps the registry.

    Returns:
        The release id.
    """
    import json
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace

    with step("register_release") as current:
        record = stages.register_release(
            dataset=Path(dataset.path),
            model=Path(model.path),
            index=Path(index.path),
            gate=Path(gate.path),
            validation=Path(validation.path),
            parent=Path(parent) if parent else None,
            settings=json.loads(settings),
            releases=Workspace.open(Path(workspace), create=True).releases,
            registry=open_tracking(tracking_uri),
            **json.loads(lineage),
        )
        current.log(record.as_metrics())
        current.note(release_id=record.release_id, alias=record.alias)
        release_id: str = record.release_id
    return release_id
