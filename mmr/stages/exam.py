"""Which judged queries a release is examined with."""

from __future__ import annotations

from mmr.data.dataset import Dataset
from mmr.release.bundle import EVIDENCE, Release
from mmr.release.exam import Exam


def exam_of(dataset: Dataset, parent: Release | None) -> Exam:
    """The validation queries of a dataset; those of the parent release where it has none judged.

    Args:
        dataset: A prepared dataset.
        parent: The release that is refreshed; None for a trained one.
    """
    own = Exam(dataset.queries("validation"), dataset.judgements("validation"))
    if own.is_judged or parent is None:
        return own
    return Exam.read(parent.path / EVIDENCE) or own


def query_texts(dataset: Dataset, exam: Exam) -> list[list[str]]:
    """Texts that a release is asked to prove itself with: those of the exam, else any."""
    return [list(exam.queries["query"]), [*dataset.queries()["query"], *exam.queries["query"]]]
