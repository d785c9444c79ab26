"""A release is untrusted input: no file can carry code, and nothing is parsed before its hash."""

from __future__ import annotations

import json
import os
import pickletools
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mmr.cli_explain import _released_model
from mmr.errors import CorruptArtifactError, MmrError
from mmr.hashing import files_below
from mmr.indexing import ProductIndex, check_pair
from mmr.release.bundle import Release
from mmr.release.diff import compare_releases
from mmr.release.evidence import GateEvidence
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.evaluate_gate import _champion
from mmr.stages.evaluate_release import evaluate_release
from mmr.stages.find_champion import find_champion
from mmr.tracking import InMemoryTracking
from mmr.tracking.protocols import CHAMPION, PREVIOUS
from mmr.workspace import Workspace
from serving.models.served_release import ServedRelease
from serving.rollback import roll_back
from tests.faults.chain import PATIENCE_S
from tests.faults.conftest import Shop, TrainedShop

pytestmark = pytest.mark.timeout(PATIENCE_S)

CopyOf = Callable[[Path], Path]
_TEXTS = frozenset((".json", ".jsonl", ".csv", ".tsv", ".txt", ".md", ".html", ".svg", ".yaml"))
_ANSWERS = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event == "pickle.find_class" else None)
from pathlib import Path
from mmr.models.storage import load_retriever
from mmr.release.bundle import Release
from serving.ui.searchers import ReleaseSearcher
release = Release.open(Path(sys.argv[1]), verify="hashes")
ReleaseSearcher(release.path).search("white lamp", 3)
load_retriever(release.model_dir)
release.golden_queries()
print(len(seen), seen[:3])
"""


def test_no_file_of_a_real_release_is_a_pickle(trained_shop: TrainedShop) -> None:
    files = list(files_below(trained_shop.release))
    kinds = {file.suffix for file in files}

    assert {".onnx", ".safetensors", ".faiss", ".parquet", ".json"} <= kinds
    for file in files:
        assert not is_pickle(file), file
        check_is_what_its_name_says(file)


def is_pickle(file: Path) -> bool:
    """Whether a file is a pickle of any protocol, or an archive with one, as torch writes it."""
    if zipfile.is_zipfile(file):
        return True
    try:
        return any(op.name == "STOP" for op, _, _ in pickletools.genops(file.read_bytes()))
    except Exception:
        return False  # no pickle: it breaks off at the first byte that is no opcode


def check_is_what_its_name_says(file: Path) -> None:
    """Parses a file as what its name says, by nothing that could run code."""
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        assert all("dtype" in tensor for name, tensor in header.items() if name[0] != "_")
    elif file.suffix == ".onnx":
        import onnx

        onnx.checker.check_model(onnx.load_from_string(content))
        assert b"external_data" not in content
    elif file.suffix == ".parquet":
        for field in pq.read_schema(file):
            assert "extension" not in str(field.type)
    elif file.suffix == ".faiss":
        assert re.fullmatch(rb"Ix\w\w|IH\w\w|Iw\w\w", content[:4])
    elif file.suffix == ".png":
        assert content.startswith(b"\x89PNG")
    else:
        assert file.suffix in _TEXTS, file
        content.decode("utf-8")


@pytest.mark.parametrize("protocol", range(6))
def test_scan_for_pickles_finds_every_protocol(protocol: int, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "a.json").write_bytes(pickle.dumps({"a": [1.5]}, protocol=protocol))

    assert is_pickle(tmp_path / "a.json")


def test_opening_searching_and_loading_a_real_release_unpickles_nothing(
    trained_shop: TrainedShop,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ANSWERS, str(trained_shop.release)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "0", done.stdout


READERS: dict[str, Callable[[Path], object]] = {
    "golden.json": lambda path: roll_back(
        workspace=Workspace.open(path.parents[1]), registry=_registry_of(path, PREVIOUS)
    ),
    "settings.json": lambda path: find_champion(
        releases=path.parent, registry=_registry_of(path, CHAMPION), required=True
    ),
    "evidence/gate.json": lambda path: compare_releases(
        Release.open(path), Release.open(path), queries=1
    ),
    "evidence/per_query.parquet": _champion,
    "product_encoder/encoder/architecture.json": lambda path: _released_model(
        Workspace.open(path.parents[1]), str(path), None
    ),
    "query_encoder/encoder.onnx": lambda path: evaluate_release(
        release=path,
        queries=path,
        judgements=path,
        products_only=None,
        report=path / "never.json",
    ),
    "query_encoder/tokenizer.json": lambda path: ServedRelease.open(path, parts=("query_encoder",)),
    "index/index.json": lambda path: ServedRelease.open(path, parts=("index",)),
}
"""File of a release to one that reads it."""


def _registry_of(release: Path, alias: str) -> InMemoryTracking:
    """A registry that knows the release alone, under an alias."""
    registry = InMemoryTracking()
    registry.register(release_id=release.name, release_dir=release, run_id=None, tags={})
    if alias == CHAMPION:
        registry.promote(release.name, expected=None, why="", who="")
    else:
        registry.set_alias(alias, release.name)
    return registry


@pytest.mark.parametrize("name", READERS)
def test_file_is_compared_with_its_hash_before_it_is_parsed(
    name: str, trained_shop: TrainedShop, tmp_path: Path
) -> None:
    """What replaces it has no form at all: an error about that would come from a parser."""
    workspace = Workspace.open(tmp_path / "workspace", create=True)
    release = workspace.releases / trained_shop.release.name
    shutil.copytree(trained_shop.release, release)
    (release / name).chmod(0o644)
    (release / name).write_bytes(b"\x80\x04no such form")

    with pytest.raises(CorruptArtifactError, match=f"{name} differs from its recorded hash"):
        READERS[name](release)


def _open_index(release: Path) -> object:
    fingerprint = Release.open(release).manifest.encoder_fingerprint
    return ProductIndex.open(release / "index", encoder_fingerprint=fingerprint, verify=False)


MIB = 1 << 20
LIMITS: dict[str, tuple[int, Callable[[Path], object]]] = {
    "release.json": (16 * MIB, Release.open),
    "settings.json": (16 * MIB, lambda path: Release.open(path).settings()),
    "golden.json": (64 * MIB, lambda path: Release.open(path).golden_queries()),
    "evidence/gate.json": (64 * MIB, lambda path: GateEvidence.read(path / "evidence")),
    "query_encoder/encoder.json": (MIB, lambda path: OnnxQueryEncoder(path / "query_encoder")),
    "query_encoder/tokenizer.json": (
        256 * MIB,
        lambda path: OnnxQueryEncoder(path / "query_encoder"),
    ),
    "query_encoder/encoder.onnx": (
        2048 * MIB,
        lambda path: OnnxQueryEncoder(path / "query_encoder"),
    ),
    "index/index.json": (MIB, lambda path: check_pair(path / "index", encoder_fingerprint="")),
    "index/index.faiss": (-1, _open_index),
    "index/products.parquet": (-1, _open_index),
}
"""File of a release to the largest size that is read, and who reads it; -1 for that recorded."""


@pytest.mark.parametrize("name", LIMITS)
def test_file_beyond_its_limit_is_not_read(
    name: str, trained_shop: TrainedShop, tmp_path: Path
) -> None:
    release = Path(shutil.copytree(trained_shop.release, tmp_path / "release"))
    limit, read = LIMITS[name]
    (release / name).chmod(0o644)
    size = (release / name).stat().st_size if limit < 0 else limit
    os.truncate(release / name, size + 1)  # with a hole, which takes no space

    with pytest.raises(CorruptArtifactError, match=r"more than the|larger than|longer than"):
        read(release)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/hostname", "index/../../outside.json", "a/./b.json"]
)
def test_manifest_cannot_name_a_file_outside_of_its_release(
    name: str, served_shop: Shop, copy_of: CopyOf
) -> None:
    release = copy_of(served_shop.place) / "shop" / "releases" / served_shop.old
    (release.parent / "outside.json").write_text("{}")
    manifest = Release.open(release).manifest
    draft = manifest.model_copy(update={"files": {**manifest.files, name: "0" * 64}})  # unchecked
    forged = draft.model_copy(update={"release_id": draft.content_id()})
    (release / "release.json").chmod(0o644)
    (release / "release.json").write_text(forged.model_dump_json())

    with pytest.raises(MmrError, match="names the file"):
        Release.open(release)


def test_link_out_of_a_release_is_refused(served_shop: Shop, copy_of: CopyOf) -> None:
    release = copy_of(served_shop.place) / "shop" / "releases" / served_shop.old
    golden = release / "golden.json"
    golden.rename(release.parent / "elsewhere.json")
    golden.symlink_to(release.parent / "elsewhere.json")

    with pytest.raises(CorruptArtifactError, match=r"golden\.json is a link"):
        Release.open(release, verify="hashes")
