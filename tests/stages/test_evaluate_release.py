"""Scores of `mmr evaluate` for a real release: real ONNX encoder, tokenizer, index, all tiny."""

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import mmr.cli_evaluate
from tests.stages.tiny_release import JUDGEMENTS, score, write_judgements, write_queries


def test_a_release_that_ranks_perfectly_scores_one_overall_and_per_kind(
    release: Path, tmp_path: Path
) -> None:
    result = score(release, tmp_path)

    perfect = {"recall_at_10": 1, "recall_at_100": 1, "ndcg_at_10": 1, "mrr_at_10": 1}
    assert result["overall"] == {**perfect, "count": 3}
    assert result["by_kind"] == {
        "colour+type": {**perfect, "count": 2},
        "type": {**perfect, "count": 1},
    }


def test_a_judged_product_that_the_release_lacks_counts_as_missed(
    release: Path, tmp_path: Path
) -> None:
    result = score(release, tmp_path, judgements=[*JUDGEMENTS, ("q1", "sold out", 2)])

    assert result["judgements"]["of_products_not_in_release"] == 1
    assert result["by_kind"]["colour+type"]["recall_at_100"] == pytest.approx(0.75)
    assert result["by_kind"]["colour+type"]["ndcg_at_10"] < 1


def test_a_split_keeps_its_own_queries_alone(release: Path, tmp_path: Path) -> None:
    result = score(release, tmp_path, split="validation")

    assert result["overall"]["count"] == 1
    assert result["judgements"]["of_other_queries"] == 4


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.txt", "bv\nrl\nnever heard of\n"),
        ("ids.tsv", "product_id\tnote\nbv\tx\nrl\ty\nnever heard of\tz\n"),
        ("ids.jsonl", "".join(f'{{"product_id": "{i}"}}\n' for i in ("bv", "rl", "nowhere"))),
    ],
)
def test_products_only_ranks_and_judges_these_products_alone(
    release: Path, tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)

    result = score(release, tmp_path, products_only=tmp_path / name)

    assert result["catalogue"] == {"products": 4, "ranked": 2, "listed_but_missing": 1}
    assert result["judgements"]["outside_products_only"] == 3
    assert result["overall"]["recall_at_10"] == 1  # q1: the blue vase is the best that is left
    assert result["overall"]["count"] == 3


def test_a_query_without_relevant_product_is_left_out_and_counted(
    release: Path, tmp_path: Path
) -> None:
    result = score(release, tmp_path, judgements=[*JUDGEMENTS[:4], ("q3", "bv", 0)])

    assert result["overall"]["count"] == 2
    assert result["queries"]["without_relevant_product"] == 1


def test_the_command_finds_a_release_by_id_and_prints_a_row_per_kind(
    release: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "releases").mkdir(parents=True)
    (workspace / "releases" / "abc").symlink_to(release)
    write_queries(tmp_path / "queries.jsonl")
    write_judgements(tmp_path / "judgements.tsv", [*JUDGEMENTS, ("q1", "sold out", 1)])

    app = typer.Typer()
    app.callback()(lambda: None)
    mmr.cli_evaluate.register(app)
    result = CliRunner().invoke(
        app,
        [
            "evaluate",
            "abc",
            f"--workspace={workspace}",
            f"--queries={tmp_path / 'queries.jsonl'}",
            f"--judgements={tmp_path / 'judgements.tsv'}",
            f"--report={tmp_path / 'scores.json'}",
        ],
        env={"COLUMNS": "120"},
    )

    assert result.exit_code == 0, result.output
    assert re.search(r"colour\+type.*2.*1\.0000", result.output)
    assert "judgements of products that the release lacks, counted as missed: 1" in result.output
    assert json.loads((tmp_path / "scores.json").read_text())["overall"]["count"] == 3
