"""The step that puts a release into production."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def deploy_triton(release_id: str, workspace: str, tracking_uri: str) -> str:
    """Loads a release beside the old one, verifies it with golden queries, moves the alias.

    Args:
        release_id: Release written by `register_release`.
        workspace: Workspace directory: its releases and its Triton model repository.
        tracking_uri: Where MLflow keeps the registry.

    Returns:
        The release id that now serves.
    """
    from pathlib import Path

    from serving.deploy import deploy

    from components.step import step
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace

    with step("deploy_triton") as current:
        opened = Workspace.open(Path(workspace), create=True)
        release = opened.releases / release_id
        deploy(release, workspace=opened, registry=open_tracking(tracking_uri))
        current.note(release_id=release_id)
    return release_id
