import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.release.bundle import GoldenQuery, Release, copy_into_release

BuildRelease = Callable[..., Path]


def test_a_release_opens_and_knows_its_parts(build_release: BuildRelease) -> None:
    path = build_release()
    release = Release.open(path, verify="hashes")
    assert release.release_id == release.manifest.release_id
    assert (release.query_encoder_dir / "encoder.onnx").is_file()
    assert (release.model_dir / "encoder" / "weights.safetensors").is_file()
    assert release.index_dir == path / "index"
    assert release.golden_queries() == [
        GoldenQuery("red sofa", [1.0, 0.0], ["p1", "p2"], [0.9, 0.8])
    ]


def test_the_same_content_has_the_same_id_whenever_it_is_built(
    build_release: BuildRelease,
) -> None:
    first = Release.open(build_release("one", created_at="2026-01-01"))
    again = Release.open(build_release("two", created_at="2027-12-31"))
    other = Release.open(build_release("three", ndcg=0.6))
    assert first.release_id == again.release_id != other.release_id


def test_a_release_may_be_moved(build_release: BuildRelease, tmp_path: Path) -> None:
    path = build_release()
    before = Release.open(path).release_id
    moved = path.rename(tmp_path / "elsewhere")
    assert Release.open(moved, verify="hashes").release_id == before


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        ("change", r"query_encoder/tokenizer\.json differs from its recorded hash"),
        ("remove", r"query_encoder/tokenizer\.json is missing"),
        ("add", r"query_encoder/extra\.json is extra"),
    ],
)
def test_every_tampered_file_is_named(
    tamper: str, message: str, build_release: BuildRelease
) -> None:
    path = build_release()
    file = path / "query_encoder" / "tokenizer.json"
    if tamper == "change":
        text = file.read_text()
        file.chmod(0o644)
        file.write_text(text.replace("sofa", "safo"))
    elif tamper == "remove":
        file.unlink()
    else:
        file.with_name("extra.json").write_text("{}")
    Release.open(path)  # the manifest itself is whole
    with pytest.raises(CorruptArtifactError, match=message):
        Release.open(path, verify="hashes")


def test_a_manifest_that_was_edited_is_found_without_reading_any_file(
    build_release: BuildRelease,
) -> None:
    path = build_release()
    manifest = path / "release.json"
    manifest.chmod(0o644)
    record = json.loads(manifest.read_text())
    record["metrics"]["candidate/ndcg_at_10"] = 0.99
    manifest.write_text(json.dumps(record))
    with pytest.raises(CorruptArtifactError, match=r"release\.json was changed: its content gives"):
        Release.open(path)


def test_what_is_no_release_is_refused(build_release: BuildRelease, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not a release: it has no release\.json"):
        Release.open(tmp_path)
    path = build_release()
    (path / "release.json").chmod(0o644)
    record = json.loads((path / "release.json").read_text())
    (path / "release.json").write_text(json.dumps({**record, "format_version": 7}))
    with pytest.raises(ArtifactError, match=r"format version 7, but this mmr reads version 1"):
        Release.open(path)
    (path / "release.json").write_text('{"format_version": 1')
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        Release.open(path)


def test_files_are_read_only_and_the_source_is_untouched(
    build_release: BuildRelease, tmp_path: Path
) -> None:
    path = build_release()
    copied = path / "product_encoder" / "encoder" / "weights.safetensors"
    source = tmp_path / "model-of-release" / "encoder" / "weights.safetensors"
    assert copied.stat().st_mode & 0o777 == 0o444
    assert source.stat().st_mode & 0o200
    source.write_bytes(b"changed")
    Release.open(path, verify="hashes")


@pytest.mark.parametrize(
    "name", ["weights.pt", "pytorch_model.bin", "state.pkl", "vectors.npy", "run"]
)
def test_files_that_could_carry_code_stay_out(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / name).write_bytes(b"?")
    with pytest.raises(ArtifactError, match=f"{name} may not go into a release"):
        copy_into_release(source, tmp_path / "release")


def test_parts_are_compared_alone(build_release: BuildRelease) -> None:
    path = build_release()
    tokenizer = path / "query_encoder" / "tokenizer.json"
    tokenizer.chmod(0o644)
    tokenizer.write_text("{}")
    (path / "product_encoder" / "extra.json").write_text("{}")
    release = Release.open(path)
    release.verify("golden.json", "index")
    with pytest.raises(CorruptArtifactError, match=r"query_encoder/tokenizer\.json differs") as one:
        release.verify("query_encoder")
    assert "product_encoder" not in str(one.value)
    with pytest.raises(CorruptArtifactError, match=r"product_encoder/extra\.json is extra"):
        release.verify("product_encoder", "golden.json")


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"queries": []}',
        '{"queries": [{"text": "lamp"}]}',
        '{"queries": [{"text": "a", "embedding": ["x"], "product_ids": [], "scores": []}]}',
        '{"queries": [{"text": "a", "embedding": [1.0], "product_ids": ["p"], "scores": []}]}',
    ],
)
def test_golden_queries_that_prove_nothing_are_refused(
    content: str, build_release: BuildRelease
) -> None:
    path = build_release()
    (path / "golden.json").chmod(0o644)
    (path / "golden.json").write_text(content)
    with pytest.raises(CorruptArtifactError, match=r"golden\.json cannot be read"):
        Release.open(path).golden_queries()
