"""The commands `mmr evaluate`, which scores a release on any query file, and `mmr gate-policy`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def register(app: typer.Typer) -> None:
    """Adds the commands to the root app."""
    app.command("evaluate", epilog=_EXAMPLES)(evaluate_command)
    app.command("gate-policy", epilog=_POLICY_EXAMPLES)(gate_policy_command)


_EXAMPLES = """
**Examples:**

`mmr evaluate workspace/releases/1f3870be274f6c49 --queries queries.jsonl --judgements
judgements.tsv --report scores.json`

`mmr evaluate 1f3870be274f6c49 --queries queries.jsonl --judgements judgements.tsv
--split validation --report scores.json`

`mmr evaluate 1f3870be274f6c49 --queries queries.jsonl --judgements judgements.tsv
--products-only in-stock.txt --report scores.json`
"""


def evaluate_command(
    release: Annotated[
        str,
        typer.Argument(
            help="A release's directory, or its id in the workspace.", show_default=False
        ),
    ],
    queries: Annotated[
        Path,
        typer.Option(help="Query file: query_id, query, optional kind, split (CSV, TSV, JSONL)."),
    ],
    judgements: Annotated[
        Path, typer.Option(help="Judgement file: query_id, product_id, grade (CSV, TSV, JSONL).")
    ],
    report: Annotated[Path, typer.Option(help="JSON file to write.")],
    products_only: Annotated[
        Path | None,
        typer.Option(help="Rank only these products: one id a line, or a column product_id."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Score only the queries of this split.")] = None,
    workspace: Annotated[
        Path, typer.Option(envvar="MMR_WORKSPACE", help="Where release ids are looked up.")
    ] = Path("workspace"),
) -> None:
    """Score a release on a query file: Recall@10, Recall@100, NDCG@10, MRR@10.

    Every query is ranked against the whole catalogue, exactly. Recall and MRR count the products
    of the query's best grade; NDCG has the gain 2^grade - 1. A judged product that the release
    lacks counts as missed.
    """
    from rich.console import Console

    from mmr.stages.evaluate_release import evaluate_release

    result = evaluate_release(
        release=_locate(release, workspace),
        queries=queries,
        judgements=judgements,
        products_only=products_only,
        report=report,
        split=split,
    )
    Console().print(_table(result))
    for note in _notes(result):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"written to {report}")


_POLICY_EXAMPLES = """
**Examples:**

`mmr gate-policy > gate.yaml`

`mmr gate-policy --check gate.yaml`
"""


def gate_policy_command(
    check: Annotated[
        Path | None,
        typer.Option(help="Read this policy, and print it with all that it leaves out filled in."),
    ] = None,
) -> None:
    """Print the gate's policy as YAML, with what every rule means.

    Without an option these are the defaults. Keep the rules that you change, and give the file to
    `mmr run --gate`.
    """
    from mmr.config.commented import commented_yaml
    from mmr.config.gate import GateConfig
    from mmr.config.run import load_gate_policy

    typer.echo(commented_yaml(load_gate_policy(check) if check else GateConfig()), nl=False)


def _locate(release: str, workspace: Path) -> Path:
    named = workspace / "releases" / release
    return named if not Path(release).exists() and named.is_dir() else Path(release)


def _table(result: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    names = {
        "recall_at_10": "Recall@10",
        "recall_at_100": "Recall@100",
        "ndcg_at_10": "NDCG@10",
        "mrr_at_10": "MRR@10",
    }
    table = Table(title=f"Release {result['release_id']}", title_justify="left")
    table.add_column("kind")
    for title in ("queries", *names.values()):
        table.add_column(title, justify="right")
    rows = {**result["by_kind"], "all": result["overall"]}
    for kind, metrics in rows.items():
        table.add_section() if kind == "all" else None
        values = [f"{metrics[name]:.4f}" for name in names]
        table.add_row(escape(kind), str(metrics["count"]), *values)
    return table


def _notes(result: dict[str, Any]) -> list[str]:
    queries, judgements, catalogue = (
        result[part] for part in ("queries", "judgements", "catalogue")
    )
    counted = {
        "queries without a relevant product, left out": queries["without_relevant_product"],
        "judgements of queries that were not asked, left out": judgements["of_other_queries"],
        "judgements of products outside --products-only, left out": judgements[
            "outside_products_only"
        ],
        "judgements of products that the release lacks, counted as missed": judgements[
            "of_products_not_in_release"
        ],
        "products of --products-only that the release lacks": catalogue["listed_but_missing"],
    }
    return [f"{what}: {count:,}" for what, count in counted.items() if count]
