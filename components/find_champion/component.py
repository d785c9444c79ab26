"""The step that asks the registry which release is in production."""

from typing import NamedTuple

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def find_champion(workspace: str, tracking_uri: str, required: str) -> NamedTuple(
    "Champion",
    [
        ("release", str),
        ("prepare_settings", str),
        ("validation_settings", str),
        ("index_settings", str),
        ("release_settings", str),
    ],
):
    """Finds the release in production when the pipeline runs, not when it was submitted.

    Args:
        workspace: Workspace directory: its releases.
        tracking_uri: Where MLflow keeps the registry.
        required: `yes` if its absence is an error.

    Returns:
        The release's directory (empty where there is none), and settings that a refresh inherits.
    """
    from pathlib import Path

    from components.step import step
    from mmr import stages
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace

    with step("find_champion") as current:
        opened = Workspace.open(Path(workspace), create=True)
        champion = stages.find_champion(
            releases=opened.releases,
            registry=open_tracking(tracking_uri, audit_file=opened.audit_file),
            required=required == "yes",
        )
        current.note(release_id=champion.release_id)
        parameters = champion.as_parameters()
    return parameters
