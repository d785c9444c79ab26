"""One change of what serves at a time: deployment, rollback, and removal of releases."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from mmr.errors import ServingError
from mmr.workspace import Workspace

_PATIENCE_S = 3.0  # the server holds it for a moment when it unloads a version


@contextmanager
def deploy_lock(workspace: Workspace) -> Iterator[None]:
    """Keeps other processes from changing what the workspace serves meanwhile.

    Raises:
        ServingError: Another process does so now.
    """
    workspace.serving.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.serving / "deploy.lock", timeout=_PATIENCE_S)
    try:
        with lock:
            yield
    except Timeout as error:
        raise ServingError(
            f"Another deployment into {workspace.path} is under way (or a rollback, or removal of "
            "releases). Wait until it has finished."
        ) from error
