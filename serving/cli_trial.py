"""The commands `mmr trial …`: a candidate on live queries, as shadow or canary."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from serving.cli_options import (
    DEFAULT_WORKSPACE,
    TrackingOption,
    WorkspaceOption,
    find,
    open_registry,
)

if TYPE_CHECKING:
    from serving.trial_report import TrialReport

_START_EXAMPLES = """
Examples:

  mmr trial start candidate --shadow 0.2                    compare a fifth of the live queries

  mmr trial start candidate --canary 0.05                   answer a twentieth of them

  mmr trial start 3f9a0c1be2d47788 --shadow 0.2 --canary 0.01 --max-p95-ms 50
"""
_SET_EXAMPLES = """
Examples:

  mmr trial set --canary 0.25                               widen the canary

  mmr trial set --canary 0 --shadow 1                       back to comparing alone
"""
ReleaseArgument = Annotated[
    str,
    typer.Argument(
        help="Release id or its beginning, its directory, or an alias such as `candidate`.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the root command."""
    trial = typer.Typer(
        help="Try a candidate out on live queries: shadow and canary.", no_args_is_help=True
    )
    trial.command(epilog=_START_EXAMPLES)(start)
    trial.command()(show)
    trial.command("set", epilog=_SET_EXAMPLES)(set_shares)
    trial.command()(stop)
    app.add_typer(trial, name="trial")


def start(
    release: ReleaseArgument,
    shadow: Annotated[
        float, typer.Option(min=0, max=1, help="Share of live queries also sent to it, unseen.")
    ] = 0.0,
    canary: Annotated[
        float, typer.Option(min=0, max=1, help="Share of live queries that it answers.")
    ] = 0.0,
    max_error_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of failures that ends it; 0.02 unless set."),
    ] = None,
    max_p95_ms: Annotated[
        float | None,
        typer.Option(min=0.001, help="Milliseconds, 95th percentile, that end it; 250 unless set."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    tracking_uri: TrackingOption = None,
) -> None:
    """Load a candidate beside the live release and let it see live queries.

    It has to pass its golden queries first. A canary that fails too often or answers too slowly is
    rolled back by the server itself. Any deployment or rollback ends the trial.
    """
    from mmr.errors import ConfigError
    from serving.live.settings import CanaryBudget
    from serving.trial import Shares, start_trial

    if shadow == canary == 0:
        raise ConfigError("Give --shadow SHARE, --canary SHARE or both: what shall it see?")
    place, registry = open_registry(workspace, tracking_uri)
    limits = {"max_error_share": max_error_share, "max_p95_ms": max_p95_ms}
    trial, golden = start_trial(
        find(place, registry, release).path,
        workspace=place,
        registry=registry,
        shares=Shares(shadow, canary),
        budget=CanaryBudget.model_validate({k: v for k, v in limits.items() if v is not None}),
    )
    typer.echo(
        f"Release {trial.release_id} passed its {golden.queries} golden queries and is on trial as "
        f"version {trial.version} against {trial.live_release_id}."
    )
    typer.echo(f"Shadow {shadow:.0%}, canary {canary:.0%}. Look at it with `mmr trial show`.")


def show(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="For other programs.")] = False,
) -> None:
    """Say how the trial goes: answers, failures, overlap, shift of scores, latency."""
    from mmr.workspace import Workspace
    from serving.trial_report import report_trial

    report = report_trial(Workspace.open(workspace))
    if as_json:
        typer.echo(json.dumps(report and report.as_json(), indent=2))
    elif report is None:
        typer.echo("There is no trial. Start one with `mmr trial start RELEASE`.")
    else:
        _print(report)


def set_shares(
    shadow: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of live queries also sent to it.")
    ] = None,
    canary: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of live queries that it answers.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Widen or narrow the trial; takes effect within a second."""
    from mmr.errors import ConfigError
    from mmr.workspace import Workspace
    from serving.trial import change_shares

    if shadow is None and canary is None:
        raise ConfigError("Give --shadow SHARE, --canary SHARE or both: what shall change?")
    trial = change_shares(Workspace.open(workspace), shadow=shadow, canary=canary)
    typer.echo(
        f"Release {trial.release_id}: shadow {trial.shadow_share:.0%}, "
        f"canary {trial.canary_share:.0%}."
    )


def stop(workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """End the trial and unload the candidate; its logs stay."""
    from mmr.workspace import Workspace
    from serving.trial import end_trial

    place = Workspace.open(workspace)
    trial = end_trial(place)
    typer.echo(
        f"The trial of release {trial.release_id} has ended; its logs are in "
        f"{place.serving / 'trial'}."
    )


def _print(report: "TrialReport") -> None:
    trial, canary, shadow = report.trial, report.canary, report.shadow
    typer.echo(
        f"Release {trial.release_id} (version {trial.version}) on trial against "
        f"{trial.live_release_id} since {trial.started}."
    )
    if report.rolled_back:
        typer.echo(f"ROLLED BACK: {report.rolled_back}. It gets no queries; `mmr trial stop`.")
    typer.echo(
        f"canary {trial.canary_share:.0%}: {canary.answers} requests, {canary.failed} failed "
        f"(the live release answered them), p50 {_number(canary.p50_ms)} ms, "
        f"p95 {_number(canary.p95_ms)} ms"
    )
    if canary.last_error:
        typer.echo(f"  last failure: {canary.last_error}")
    typer.echo(
        f"shadow {trial.shadow_share:.0%}: {shadow.compared} queries compared, {shadow.failed} "
        f"failed, p50 live {_number(shadow.live_p50_ms)} ms, candidate "
        f"{_number(shadow.candidate_p50_ms)} ms"
    )
    if shadow.compared:
        typer.echo(
            f"  overlap mean {_number(shadow.mean_overlap)}, a tenth below "
            f"{_number(shadow.p10_overlap)}; same first product {_number(shadow.same_first)}; "
            f"best score shifts by {_number(shadow.mean_score_shift)}"
        )
        typer.echo(f"  most different: {', '.join(map(repr, shadow.most_different))}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
