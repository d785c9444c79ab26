"""The command `mmr explain`: how much text and image weigh in a product."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mmr.data.dataset import Dataset
    from mmr.data.expansion import Expansions
    from mmr.stages.explain import Explanation
    from mmr.workspace import Workspace


def register(app: typer.Typer) -> None:
    """Adds the command to the root app."""
    app.command("explain", epilog=_EXAMPLES)(explain_command)


_EXAMPLES = """
**Examples:**

`mmr explain B07XYZ`

`mmr explain B07XYZ --query "white wardrobe" --release candidate`

`mmr explain B07XYZ --query "white wardrobe" --model workspace/models/fused --dataset data/shop`
"""


_KEPT_START = (
    "No step of the fusion's training answered the validation queries better than its start, equal "
    "shares of text and image: the weights of all products are those of the start."
)


def explain_command(
    product_id: Annotated[str, typer.Argument(help="The shop's own id.", show_default=False)],
    query: Annotated[
        str | None, typer.Option(help="Also score and rank the product for this query.")
    ] = None,
    release: Annotated[
        str,
        typer.Option(help="Release id, the beginning of one, its directory, or an alias."),
    ] = "champion",
    model: Annotated[
        Path | None, typer.Option(help="A model directory, in place of a release.")
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="The dataset of the products; the one of the workspace's run if absent."),
    ] = None,
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="Folder of releases and runs.")
    ] = Path("workspace"),
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            envvar="MLFLOW_TRACKING_URI",
            help="MLflow store, for aliases; the workspace's own when not given.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Explain a product: how much its text and its image weigh, and what a query sees of each.

    The weights are those by which the fusion mixes text and image into the product's vector. What
    the vector loses without one of them is measured for every fusion. With a query, the product is
    scored and ranked by its text alone, by its image alone, and by both.
    """
    import json

    from rich.console import Console

    from mmr.stages import explain
    from mmr.stages.gate_record import training_record
    from mmr.workspace import Workspace

    opened = Workspace.open(workspace)
    words = None
    if model is None:
        model, content_hash, words = _released_model(opened, release, tracking_uri)
    else:
        content_hash = training_record(model).get("dataset")
    data = _dataset(opened, dataset, content_hash)
    explanation = explain(
        product_id=product_id,
        model=model,
        dataset=data.path,
        cache=opened.cache,
        query=query,
        words=words,
    )
    if as_json:
        typer.echo(json.dumps(explanation.as_json(), indent=2))
        return
    console = Console()
    for part in _tables(explanation):
        console.print(part)


def _released_model(
    workspace: Workspace, name: str, tracking_uri: str | None
) -> tuple[Path, str | None, Expansions | None]:
    from mmr.indexing import read_products, recorded_words
    from mmr.indexing.manifest import PRODUCTS_FILE
    from mmr.release.bundle import INDEX, PRODUCT_ENCODER
    from mmr.release.lookup import find_release
    from mmr.tracking.deferred import DeferredTracking

    registry = DeferredTracking(
        tracking_uri or workspace.tracking_uri, audit_file=workspace.audit_file
    )
    release = find_release(workspace.releases, name, resolve=registry.resolve)
    release.verify(PRODUCT_ENCODER, INDEX)
    words = recorded_words(read_products(release.index_dir / PRODUCTS_FILE))
    return release.model_dir, release.manifest.dataset_hash, words


def _dataset(workspace: Workspace, given: Path | None, content_hash: str | None) -> Dataset:
    from mmr.data.dataset import Dataset
    from mmr.data.locate import find_dataset
    from mmr.errors import DataContractError

    if given is not None:
        return Dataset(given)
    found = find_dataset(workspace, content_hash) if content_hash else None
    if found is None:
        raise DataContractError(
            f"No run in {workspace.path} prepared dataset {content_hash or '(not recorded)'}. Name "
            "the products' dataset with --dataset DIR."
        )
    return found


def _tables(explanation: Explanation) -> list[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    from mmr.release.diff_text import visible

    title = visible(f"{explanation.product_id}  {explanation.title or '(no title)'}")
    weights = Table(title=Text(title, style="bold"), title_justify="left")
    weights.add_column(f"vector by {explanation.fusion}")
    weights.add_column("weight", justify="right")
    weights.add_column("vector without it (cosine)", justify="right")
    for name, weight, without in _parts(explanation):
        weights.add_row(name, weight, without)
    parts: list[RenderableType] = [weights]
    if explanation.expansion:
        said = visible(" ".join(explanation.expansion))
        parts.append(Text(f"Its text says as well what was asked for: {said}"))
    if explanation.weights is None:
        parts.append(
            Text(f"Fusion {explanation.fusion} has no weights: read what is left without each.")
        )
    elif explanation.kept_start:
        parts.append(Text(_KEPT_START))
    if explanation.query is not None:
        scores = Table(
            title=Text(f"“{visible(explanation.query)}”", style="bold"), title_justify="left"
        )
        scores.add_column("the product tower reads")
        for column in ("score", "rank", "of"):
            scores.add_column(column, justify="right")
        for found in explanation.scores:
            scores.add_row(
                found.reads,
                "-" if found.score is None else f"{found.score:.4f}",
                "-" if found.rank is None else f"{found.rank:,}",
                f"{found.products:,}",
            )
        parts.append(scores)
    return parts


def _parts(explanation: Explanation) -> list[tuple[str, str, str]]:
    weights = explanation.weights
    rows = [
        ("text", explanation.has_text, weights and weights.text, explanation.without_text),
        ("image", explanation.has_image, weights and weights.image, explanation.without_image),
    ]
    if weights is not None and weights.joint:
        rows.append(("both together", True, weights.joint, None))
    return [
        (
            name if present else f"{name} (none)",
            "-" if weight is None else f"{weight:.1%}",
            "-" if without is None else f"{without:.4f}",
        )
        for name, present, weight, without in rows
    ]
