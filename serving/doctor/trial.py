"""The candidate on trial: was it rolled back, and is it loaded?"""

from __future__ import annotations

from collections.abc import Iterator

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.doctor.finding import Finding, Level
from serving.live.places import LivePlaces
from serving.model_config import SEARCH, TRIAL_SUFFIX
from serving.process import RunningServer
from serving.transport import connect

_AREA = "serving"


def check_trial(workspace: Workspace, server: RunningServer | None) -> Iterator[Finding]:
    """Looks at the trial under way, if there is one.

    Args:
        workspace: Whose trial it is.
        server: The running server; None if none runs.
    """
    places = LivePlaces(workspace.serving)
    try:
        trial = places.read_trial()
        trip = places.read_trip(trial) if trial else None
    except ServingError as error:
        yield Finding(_AREA, Level.ERROR, str(error), "Follow the message, then look again.")
        return
    if trial is None:
        return
    said = f"release {trial.release_id} is on trial as version {trial.version}"
    if trip:
        yield Finding(
            _AREA,
            Level.WARNING,
            f"{said}, and was rolled back: {trip.reason}",
            "`mmr trial show` has the figures; `mmr trial stop` unloads it.",
        )
    elif server is not None and not _loaded(server, trial.version):
        yield Finding(
            _AREA,
            Level.WARNING,
            f"{said}, but is not loaded",
            "`mmr trial stop`, then start the trial again.",
        )
    else:
        yield Finding(_AREA, Level.OK, said)


def _loaded(server: RunningServer, version: int) -> bool:
    transport = connect(server.grpc_url, protocol="grpc", timeout_s=5.0)
    try:
        return transport.ready(SEARCH + TRIAL_SUFFIX, version=version)
    except ServingError:
        return False
    finally:
        transport.close()
