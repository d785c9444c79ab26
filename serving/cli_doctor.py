"""The command `mmr doctor`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_options import (
    DEFAULT_WORKSPACE,
    PortBaseOption,
    TrackingOption,
    TritonVenvOption,
    WorkspaceOption,
)

if TYPE_CHECKING:
    from mmr.tracking import Registry
    from mmr.workspace import Workspace
    from serving.doctor.finding import Finding

_EXAMPLES = """
Examples:

  mmr doctor                          look at everything

  mmr doctor --repair                 and mend what can be mended

  mmr doctor --quick --json           without hashing the releases, for monitoring
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the root command."""
    app.command(epilog=_EXAMPLES)(doctor)


def doctor(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended, then look again.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not hash the releases.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    port_base: PortBaseOption = 8000,
    triton_venv: TritonVenvOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Find out what is wrong, and what to do about it.

    Looks at the environment, the workspace, the registry, the releases and the server. Where
    registry and server name different releases, the registry's champion decides: --repair deploys
    it. The exit status is 1 when an error remains; warnings do not count.
    """
    from serving.doctor import diagnosis
    from serving.doctor.finding import Level
    from serving.settings import ServeSettings

    def open_registry(place: "Workspace") -> "Registry":
        from mmr.tracking import open_tracking

        return open_tracking(tracking_uri or place.tracking_uri, audit_file=place.audit_file)

    patient = diagnosis.Patient(
        path=Path(workspace),
        open_registry=open_registry,
        serve=ServeSettings.from_port_base(port_base),
        triton_venv=triton_venv,
        hashes=not quick,
    )
    findings = list(diagnosis.diagnose(patient))
    if repair and any(finding.repair for finding in findings):
        if not as_json:
            _show([finding for finding in findings if finding.level is not Level.OK], as_json=False)
        for line in diagnosis.repair(findings):
            typer.echo(line, err=as_json)
        findings = list(diagnosis.diagnose(patient))
    _show(findings, as_json=as_json)
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _show(findings: list["Finding"], *, as_json: bool) -> None:
    import json

    if as_json:
        names = ("area", "level", "what", "cure")
        rows = [{name: getattr(finding, name) for name in names} for finding in findings]
        typer.echo(json.dumps(rows, indent=2))
        return
    for finding in findings:
        typer.echo(f"{finding.level:<8} {finding.area:<12} {finding.what}")
        if finding.cure:
            typer.echo(f"{'':<21} → {finding.cure}")
