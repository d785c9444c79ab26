"""The searches at the end of a run: what the served release answers, and what judges say of it."""

from __future__ import annotations

from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from mmr.data.dataset import Dataset
from mmr.data.text import normalise_query
from mmr.errors import MmrError
from mmr.workspace import Workspace

EXAMPLE_SEARCHES = 3
_EXAMPLE_HITS = 3

Grades = dict[str, dict[str, int]]  # normalised query to product id to grade


class ShownHit(BaseModel):
    """One product of an example search.

    Attributes:
        grade: Of its judgement for the query; None where nobody judged it.
    """

    rank: int
    score: float
    product_id: str
    title: str
    grade: int | None = None


class ShownSearch(BaseModel):
    """One example search, answered by Triton.

    Attributes:
        best_grade: The best of the query's judgements; None where it has none.
    """

    query: str
    release_id: str
    hits: list[ShownHit]
    best_grade: int | None = None


def own_queries(dataset: Dataset) -> tuple[str, ...]:
    """Some of a dataset's validation queries, from its beginning to its end."""
    queries = dataset.queries("validation")["query"].drop_duplicates()
    step = max(1, len(queries) // EXAMPLE_SEARCHES)
    return tuple(queries.iloc[::step][:EXAMPLE_SEARCHES])


def validation_grades(dataset: Dataset) -> Grades:
    """The judgements of the validation queries."""
    queries = dataset.queries("validation").set_index("query_id")["query"].map(normalise_query)
    grades: Grades = {}
    for row in dataset.judgements("validation").itertuples():
        grades.setdefault(queries[row.query_id], {})[str(row.product_id)] = int(row.grade)
    return grades


def example_searches(
    workspace: Workspace, queries: tuple[str, ...], grades: Grades
) -> tuple[list[ShownSearch], str]:
    """Asks the release that the workspace serves; without a server, says why there is no answer."""
    from serving.client import SearchClient
    from serving.launcher import status

    server = status(workspace)
    if server.server is None or not server.answering:
        return [], "No server answers for this workspace: `mmr serve` starts it."
    try:
        with SearchClient(server.server.grpc_url, probe=True) as client:
            answers = client.search_many(queries, k=_EXAMPLE_HITS)
    except MmrError as error:
        return [], str(error)
    shown = []
    for query, answer in zip(queries, answers, strict=True):
        judged = grades.get(normalise_query(query), {})
        hits = [
            ShownHit(
                rank=hit.rank,
                score=hit.score,
                product_id=hit.product_id,
                title=hit.title,
                grade=judged.get(hit.product_id),
            )
            for hit in answer.hits
        ]
        best = max(judged.values(), default=None)
        shown.append(
            ShownSearch(query=query, release_id=answer.release_id, hits=hits, best_grade=best)
        )
    return shown, ""


def search_table(search: ShownSearch) -> Table:
    """A search for people; with the judgements of its products, where the query has any."""
    judged = search.best_grade is not None
    table = Table(
        "", "score", "product", "title", title=escape(f"“{search.query}”"), title_style="bold"
    )
    if judged:
        table.add_column("judged")
    table.title_justify = table.caption_justify = "left"
    table.caption = f"answered by release {search.release_id}"
    if judged:
        table.caption += "\njudged: the grade, of the query's best; –: not judged, counts as wrong"
    for hit in search.hits:
        grade = "–" if hit.grade is None else f"{hit.grade} of {search.best_grade}"
        cells = (
            str(hit.rank),
            f"{hit.score:.3f}",
            escape(hit.product_id),
            escape(hit.title),
            grade,
        )
        table.add_row(*(cells if judged else cells[:-1]))
    return table
