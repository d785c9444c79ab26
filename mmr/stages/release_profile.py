"""Writes the profile of the training queries into a release under construction."""

from __future__ import annotations

from pathlib import Path

from mmr.data.dataset import Dataset
from mmr.indexing import ProductIndex
from mmr.monitoring.reference import MAX_SCORED, fit_profile, score_reference
from mmr.release.bundle import INDEX, QUERY_ENCODER, Release
from mmr.release.exam import Exam, evenly
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.release.query_profile import QueryProfile


def write_query_profile(
    draft: Path, data: Dataset, exam: Exam, *, parent: Release | None, fingerprint: str
) -> None:
    """Writes `query_profile/profile.json`.

    A refreshed release takes over what its parent remembers of the queries that the encoder was
    trained on; only the scores are those of the new index. A parent without a profile hands none
    on, and without training queries there is none.

    Args:
        draft: The release under construction, with its query encoder and index.
        data: The dataset that it is made from.
        exam: The queries that it was examined with, which were not trained on.
        parent: The release whose encoder it keeps; None for a trained one.
        fingerprint: Of the encoder.
    """
    encoder = OnnxQueryEncoder(draft / QUERY_ENCODER)
    if parent is None:
        profile = fit_profile(
            list(data.queries("train")["query"]), encoder.encode, encoder_fingerprint=fingerprint
        )
    else:
        profile = QueryProfile.read(parent.path, encoder_fingerprint=fingerprint)
    if profile is None:
        return
    texts = evenly(sorted(set(exam.queries["query"])), MAX_SCORED)
    index = ProductIndex.open(draft / INDEX, encoder_fingerprint=fingerprint, threads=1)
    scores = index.search(encoder.encode(texts), 1)[1][:, 0].tolist() if texts else []
    profile.model_copy(update={"scores": score_reference(scores)}).write(draft)
