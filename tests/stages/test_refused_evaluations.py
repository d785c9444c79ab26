"""Releases, files and options with which `mmr evaluate` is refused."""

from pathlib import Path

import pytest

from mmr.errors import (
    ArtifactError,
    CorruptArtifactError,
    DataContractError,
    IndexMismatchError,
    MmrError,
)
from mmr.release.bundle import Release
from mmr.stages.evaluate_release import evaluate_release
from mmr.stages.whole_release import check_whole
from tests.stages.tiny_release import score, write_judgements, write_queries, write_release


def test_a_query_encoder_of_another_release_is_refused(tmp_path: Path) -> None:
    mixed = write_release(tmp_path / "mixed", fingerprint="e" * 64)
    with pytest.raises(IndexMismatchError, match=r"built with encoder f{64}.*at hand is e{64}"):
        score(mixed, tmp_path)


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json", "encoder.json"])
def test_a_tampered_encoder_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    tampered = write_release(tmp_path / "tampered") / "query_encoder" / name
    tampered.chmod(0o644)
    tampered.write_bytes(b"no longer what was released")
    with pytest.raises(CorruptArtifactError, match=f"query_encoder/{name} differs from its"):
        score(tampered.parents[1], tmp_path)


def test_verification_compares_the_query_encoder_with_the_index_too(
    release: Path, tmp_path: Path
) -> None:
    check_whole(Release.open(release))
    mixed = Release.open(write_release(tmp_path / "mixed", fingerprint="e" * 64))
    mixed.verify()
    with pytest.raises(IndexMismatchError, match=r"encoder f{64}, but holds query encoder e{64}"):
        check_whole(mixed)


def test_a_directory_that_is_no_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a release"):
        score(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("queries", "judgements", "message"),
    [
        ("", None, "queries.jsonl holds no query"),
        ('{"query_id": "q1"}\n', None, "queries.jsonl:1: there is no column 'query'"),
        ('{"query_id": "q1", "query": " "}\n', None, "queries.jsonl:1: query is empty"),
        ('{"query_id": "q1", "query": "a"}\n{broken\n', None, "queries.jsonl:2: "),
        ('{"query_id": "q1", "query": "a"}\n' * 2, None, "queries.jsonl:2: query_id 'q1' stands"),
        (None, "", "holds no judgement"),
        (None, "query_id\tgrade\nq1\t1\n", "judgements.tsv:2: there is no column 'product_id'"),
        (None, "query_id\tproduct_id\tgrade\nq1\trv\thigh\n", "judgements.tsv:2: grade is 'high'"),
        (None, "query_id\tproduct_id\tgrade\nq1\trv\t1.5\n", "judgements.tsv:2: grade is '1.5'"),
        (
            None,
            "query_id\tproduct_id\tgrade\nq1\trv\t1\nq1\trv\t2\n",
            "judgements.tsv:3: grade is 2, but line 2",
        ),
        (None, "query_id\tproduct_id\tgrade\nx9\trv\t1\n", "No query_id of .*'x9'.*'q1'"),
        (None, "query_id\tproduct_id\tgrade\nq1\trv\t0\n", "has a judgement above 0"),
        (None, "query_id\tproduct_id\tgrade\nq1\tz7\t1\n", "No product_id of .*'z7'.*'rv'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place_and_nothing_is_written(
    release: Path, tmp_path: Path, queries: str | None, judgements: str | None, message: str
) -> None:
    query_file = write_queries(tmp_path / "queries.jsonl")
    judgement_file = write_judgements(tmp_path / "judgements.tsv")
    if queries is not None:
        query_file.write_text(queries)
    if judgements is not None:
        judgement_file.write_text(judgements)

    with pytest.raises(DataContractError, match=message):
        evaluate_release(
            release=release,
            queries=query_file,
            judgements=judgement_file,
            products_only=None,
            report=tmp_path / "scores.json",
        )
    assert not (tmp_path / "scores.json").exists()


def test_an_unknown_split_is_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="has the split 'final'"):
        score(release, tmp_path, split="final")


def test_products_only_with_no_known_product_is_refused(release: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("nothing\n")
    with pytest.raises(MmrError, match="None of the 1 products"):
        score(release, tmp_path, products_only=tmp_path / "ids.txt")
