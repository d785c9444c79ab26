"""The searches at the end of a run, as people see them."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from mmr.data.dataset import Dataset
from mmr.workspace import Workspace
from pipelines.example_searches import (
    ShownHit,
    ShownSearch,
    example_searches,
    own_queries,
    search_table,
    validation_grades,
)


def printed(search: ShownSearch) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(search_table(search))
    return capture.get()


def hit(rank: int, title: str, grade: int | None) -> ShownHit:
    return ShownHit(rank=rank, score=0.5, product_id=f"p{rank}", title=title, grade=grade)


def test_judgements_say_what_a_title_does_not() -> None:
    hits = [hit(1, "Sofa", 2), hit(2, "Velvet sofa", 1), hit(3, "Bench", None)]
    shown = printed(ShownSearch(query="red sofa", release_id="r1", hits=hits, best_grade=2))

    rows = [line.split("│")[1:-1] for line in shown.splitlines() if line.startswith("│")]
    assert [row[-1].strip() for row in rows] == ["2 of 2", "1 of 2", "–"]
    assert "the grade, of the query's best" in shown


def test_a_query_without_judgements_has_no_column_for_them() -> None:
    shown = printed(ShownSearch(query="red sofa", release_id="r1", hits=[hit(1, "Sofa", None)]))

    assert "judged" not in shown
    assert "answered by release r1" in shown


def test_brackets_in_titles_and_queries_are_shown_as_they_are() -> None:
    search = ShownSearch(query="sofa [red]", release_id="r1", hits=[hit(1, "Sofa [bold]", None)])

    shown = printed(search)

    assert "sofa [red]" in shown
    assert "Sofa [bold]" in shown


def test_grades_are_those_of_the_validation_queries(tiny_dataset: Path) -> None:
    data = Dataset(tiny_dataset)
    query_of = data.queries("validation").set_index("query_id")["query"]
    grades = validation_grades(data)

    judgements = data.judgements("validation")
    assert sum(map(len, grades.values())) == len(judgements) > 0
    for row in judgements.itertuples():
        assert grades[query_of[row.query_id].casefold()][row.product_id] == row.grade
    assert all(grades[query.casefold()] for query in own_queries(data))


def test_without_a_server_a_note_says_why_nothing_is_shown(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "workspace", create=True)

    assert example_searches(workspace, ("red sofa",), {}) == (
        [],
        "No server answers for this workspace: `mmr serve` starts it.",
    )
