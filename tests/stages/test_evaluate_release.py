"""`mmr evaluate` on a real release: real ONNX encoder, tokenizer and index, all tiny."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers
from typer.testing import CliRunner

import mmr.cli_evaluate
from mmr.atomic import write_json
from mmr.config.index import IndexConfig
from mmr.errors import (
    ArtifactError,
    CorruptArtifactError,
    DataContractError,
    IndexMismatchError,
    MmrError,
)
from mmr.indexing import build_product_index
from mmr.release.bundle import Release, seal
from mmr.stages.evaluate_release import evaluate_release
from mmr.stages.whole_release import check_whole

WORDS = ["[PAD]", "[UNK]", "red", "blue", "vase", "lamp"]
# Products by what they are; the vector of a text is the sum of its words' axes, made unit length.
PRODUCTS = {"rv": "red vase", "bv": "blue vase", "rl": "red lamp", "bl": "blue lamp"}
FINGERPRINT = "f" * 64
QUERIES = [
    {"query_id": "q1", "query": "red vase", "kind": "colour+type", "split": "test"},
    {"query_id": "q2", "query": "lamp", "kind": "type", "split": "test"},
    {"query_id": "q3", "query": "blue vase", "kind": "colour+type", "split": "validation"},
]
JUDGEMENTS = [
    ("q1", "rv", 2),
    ("q1", "bv", 1),
    ("q2", "rl", 1),
    ("q2", "bl", 1),
    ("q3", "bv", 2),
    ("q3", "rv", 1),
]


def vector(text: str) -> np.ndarray:
    total = sum(np.eye(len(WORDS))[WORDS.index(word)] for word in text.split())
    return (total / np.linalg.norm(total)).astype(np.float32)


def write_query_encoder(directory: Path, fingerprint: str) -> None:
    directory.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.eye(len(WORDS), dtype=np.float32)
    table[0] = 0  # padding adds nothing
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["words"]),
            helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["kept", "last"], ["mask"]),
            helper.make_node("Mul", ["words", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "middle"], ["total"], keepdims=0),
            helper.make_node("LpNormalization", ["total"], ["embedding"], axis=-1, p=2),
        ],
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", len(WORDS)])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.asarray([2]), "last"),
            numpy_helper.from_array(np.asarray([1]), "middle"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, directory / "encoder.onnx")
    write_json(
        directory / "encoder.json",
        {
            "format_version": 1,
            "dim": len(WORDS),
            "max_tokens": 8,
            "prefix": "",
            "pad_id": 0,
            "fingerprint": fingerprint,
        },
    )


def write_vectors(directory: Path) -> Path:
    directory.mkdir()
    np.save(directory / "vectors.npy", np.stack([vector(text) for text in PRODUCTS.values()]))
    columns = {
        "product_id": list(PRODUCTS),
        "title": list(PRODUCTS.values()),
        "has_text": [True] * 4,
        "has_image": [True] * 4,
    }
    pq.write_table(pa.table(columns), directory / "products.parquet")
    write_json(
        directory / "vectors.json",
        {
            "format_version": 1,
            "encoder_fingerprint": FINGERPRINT,
            "dim": len(WORDS),
            "rows": 4,
            "dataset_hash": "d" * 64,
        },
    )
    return directory


def write_release(path: Path, *, fingerprint: str = FINGERPRINT) -> Path:
    write_query_encoder(path / "query_encoder", fingerprint)
    vectors = write_vectors(path.with_name(f"{path.name}-vectors"))
    build_product_index(
        vectors=vectors, queries=None, out=path / "index", settings=IndexConfig(min_recall=0.01)
    )
    seal(
        path,
        created_at="2026-01-01T00:00:00Z",
        content={
            "encoder_fingerprint": FINGERPRINT,
            "dim": len(WORDS),
            "dataset_hash": "d" * 64,
            "dataset_revision": None,
            "git_revision": None,
            "mlflow_run_id": None,
            "metrics": {},
            "gate_decision": "promote",
        },
    )
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("releases") / "release")


def write_queries(path: Path, rows: list[dict] = QUERIES) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_judgements(path: Path, rows: list[tuple] = JUDGEMENTS) -> Path:
    lines = ["query_id\tproduct_id\tgrade", *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def score(release: Path, tmp_path: Path, *, judgements: list[tuple] = JUDGEMENTS, **more) -> dict:
    result = evaluate_release(
        release=release,
        queries=write_queries(tmp_path / "queries.jsonl"),
        judgements=write_judgements(tmp_path / "judgements.tsv", judgements),
        products_only=more.pop("products_only", None),
        report=tmp_path / "scores.json",
        **more,
    )
    assert json.loads((tmp_path / "scores.json").read_text()) == result
    return result


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
