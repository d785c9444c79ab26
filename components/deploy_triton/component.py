"""The step that puts a release into production."""

from kfp import dsl

from components.image import MMR_IMAGE


@dsl.component(base_image=MMR_IMAGE, install_kfp_package=False)
def deploy_triton(
    release_id: str,
    champion: str,
    why: str,
    who: str,
    serve_settings: str,
    workspace: str,
    tracking_uri: str,
) -> str:
    """Loads a release beside the old one, verifies it with golden queries, moves the alias.

    Args:
        release_id: Release written by `register_release`.
        champion: Directory of the release that it was compared with; empty for none. Another
            champion by now refuses the deployment.
        why: For the registry's record.
        who: For the registry's record.
        serve_settings: `ServeSettings` as JSON, for the case that no server runs yet.
        workspace: Workspace directory: its releases and its Triton model repository.
        tracking_uri: Where MLflow keeps the registry.

    Returns:
        The release id that now serves.
    """
    from pathlib import Path

    from components.step import step
    from mmr.tracking import open_tracking
    from mmr.workspace import Workspace
    from serving.deploy import ExpectedChampion, deploy
    from serving.settings import ServeSettings

    with step("deploy_triton") as current:
        opened = Workspace.open(Path(workspace), create=True)
        report = deploy(
            opened.releases / release_id,
            workspace=opened,
            registry=open_tracking(tracking_uri, audit_file=opened.audit_file),
            why=why,
            who=who,
            expected=ExpectedChampion(Path(champion).name if champion else None),
            serve=ServeSettings.model_validate_json(serve_settings),
        )
        current.log(report.as_metrics())
        current.note(release_id=report.release_id)
    return report.release_id
