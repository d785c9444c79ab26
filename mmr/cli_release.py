"""The commands on releases: list, show, verify, and the history of the champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from mmr.release.bundle import Release
    from mmr.tracking import RegisteredRelease, Registry
    from mmr.workspace import Workspace

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", envvar="MMR_WORKSPACE", help="The workspace.")
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow store; the workspace's own SQLite file when not given.",
        show_default=False,
    ),
]
ReleaseName = Annotated[
    str,
    typer.Argument(
        help="A release id, the beginning of one, or an alias: champion, previous, candidate.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_DEFAULT_WORKSPACE = Path("workspace")


def register(app: typer.Typer) -> None:
    """Adds the commands to the root app."""
    app.command("releases", epilog=_RELEASES_EXAMPLES)(releases_command)
    app.command("history", epilog=_HISTORY_EXAMPLES)(history_command)
    app.command("diff", epilog=_DIFF_EXAMPLES)(diff_command)
    release = typer.Typer(no_args_is_help=True, help="Look into one release, or check it.")
    release.command("show", epilog=_SHOW_EXAMPLES)(show_command)
    release.command("verify", epilog=_VERIFY_EXAMPLES)(verify_command)
    app.add_typer(release, name="release")


_RELEASES_EXAMPLES = """
**Examples:**

`mmr releases`

`mmr releases --workspace shop --json`
"""


def releases_command(
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """List the releases of a workspace, newest first.

    `champion` is in production, `previous` was before it, `candidate` waits for a decision.
    """
    import json
    from dataclasses import asdict

    opened = _open_workspace(workspace)
    listed = _registry(opened, tracking_uri).releases()
    if as_json:
        typer.echo(json.dumps([asdict(release) for release in listed], indent=2))
    elif not listed:
        typer.echo("No releases yet. `mmr run DATASET` makes one.")
    else:
        _print(_releases_table(opened, listed))


_SHOW_EXAMPLES = """
**Examples:**

`mmr release show champion`

`mmr release show 1f3870be --json`
"""


def show_command(
    name: ReleaseName,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Show where a release came from, what the gate said, and what it holds."""
    release = _find(_open_workspace(workspace), name, tracking_uri)
    if as_json:
        typer.echo(release.manifest.model_dump_json(indent=2))
    else:
        _print(_release_table(release))


_VERIFY_EXAMPLES = """
**Examples:**

`mmr release verify champion`

`mmr release verify 1f3870be --workspace shop`
"""


def verify_command(
    name: ReleaseName,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    tracking_uri: TrackingUri = None,
) -> None:
    """Compare every file of a release with its recorded hash, and encoder with index.

    A file that differs, is missing or is extra is named, and the exit status is 1.
    """
    from mmr.stages.whole_release import check_whole

    release = _find(_open_workspace(workspace), name, tracking_uri)
    check_whole(release)
    typer.echo(f"Release {release.release_id} is whole: {len(release.manifest.files)} files.")


_HISTORY_EXAMPLES = """
**Examples:**

`mmr history`

`mmr history --json`
"""


def history_command(
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Show every promotion and rollback, newest first: when, what, who, and why."""
    import json
    from dataclasses import asdict

    records = _registry(_open_workspace(workspace), tracking_uri).history()
    if as_json:
        typer.echo(json.dumps([asdict(record) for record in records], indent=2))
        return
    if not records:
        typer.echo("No release has been promoted yet. `mmr deploy RELEASE` does it.")
        return
    for record in records:
        moved = f"{record.release_id} replaces {record.replaced or 'none'}"
        state = "" if record.finished else "  interrupted: `mmr doctor` tells how to finish it"
        typer.echo(
            f"{_short(record.when)}  {record.action:<8}  {moved}  by {_plain(record.who)}{state}"
        )
        typer.echo(f"{'':<21}{_plain(record.why)}")


_DIFF_EXAMPLES = """
**Examples:**

`mmr diff champion candidate`

`mmr diff 1f3870be 3f9a0c1b --queries 20 --json`
"""


def diff_command(
    first: ReleaseName,
    second: ReleaseName,
    queries: Annotated[
        int, typer.Option(min=0, help="How many of the queries that changed most are listed.")
    ] = 10,
    workspace: WorkspaceOption = _DEFAULT_WORKSPACE,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
) -> None:
    """Show how the second release differs from the first.

    Metrics overall and by slice, data and code revision, settings that differ, and the queries
    that changed most, all from what the gates recorded.
    """
    import json
    from dataclasses import asdict

    from mmr.release.diff import compare_releases
    from mmr.release.diff_text import render_diff

    place = _open_workspace(workspace)
    releases = [_find(place, name, tracking_uri) for name in (first, second)]
    diff = compare_releases(*releases, queries=queries)
    typer.echo(json.dumps(asdict(diff), indent=2) if as_json else render_diff(diff))


def _open_workspace(path: Path) -> Workspace:
    from mmr.workspace import Workspace

    return Workspace.open(path)


def _registry(workspace: Workspace, tracking_uri: str | None) -> Registry:
    from mmr.tracking import open_tracking

    return open_tracking(tracking_uri or workspace.tracking_uri, audit_file=workspace.audit_file)


def _find(workspace: Workspace, name: str, tracking_uri: str | None) -> Release:
    from mmr.release.lookup import find_release

    return find_release(
        workspace.releases,
        name,
        resolve=lambda alias: _registry(workspace, tracking_uri).resolve(alias),
    )


def _releases_table(workspace: Workspace, releases: list[RegisteredRelease]) -> Table:
    table = _table("no.", "release", "aliases", "gate", "created (UTC)", "files")
    for release in releases:
        here = (workspace.releases / release.release_id).is_dir()
        _add_row(
            table,
            str(release.version),
            release.release_id,
            ", ".join(release.aliases),
            release.tags.get("gate_decision", ""),
            _short(release.created_at),
            "present" if here else "deleted" if release.deleted else "absent",
        )
    return table


def _release_table(release: Release) -> Table:
    manifest = release.manifest
    size = sum((release.path / name).stat().st_size for name in manifest.files)
    table = _table("", f"release {manifest.release_id}")
    rows = {
        "directory": str(release.path),
        "created (UTC)": manifest.created_at,
        "gate": manifest.gate_decision,
        "refreshed from release": manifest.parent_release or "- (trained)",
        "encoder fingerprint": manifest.encoder_fingerprint,
        "dimensions": str(manifest.dim),
        "dataset hash": manifest.dataset_hash,
        "dataset revision (DVC)": manifest.dataset_revision or "-",
        "git revision": manifest.git_revision or "-",
        "MLflow run": manifest.mlflow_run_id or "-",
        "files": f"{len(manifest.files)}, {size / 1e6:.0f} MB",
        **{name: f"{value:.4f}" for name, value in manifest.metrics.items()},
    }
    for name, value in rows.items():
        _add_row(table, name, value)
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table()
    for column in columns:
        fixed = column in ("created (UTC)", "release", "files")
        table.add_column(column, overflow="fold", no_wrap=fixed)
    return table


def _add_row(table: Table, *values: str) -> None:
    """Adds a row as plain text: a title or reason in brackets is no markup."""
    from rich.text import Text

    table.add_row(*(Text(value) for value in values))


def _plain(text: str) -> str:
    from mmr.release.diff_text import visible

    return visible(text)


def _short(when: str) -> str:
    """To the second: `2026-11-21 07:33:26`."""
    return when[:19].replace("T", " ")


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)
