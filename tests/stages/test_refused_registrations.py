"""What is damaged or does not belong together makes no release."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmr.errors import ArtifactError, CorruptArtifactError, IndexMismatchError
from mmr.stages import release_draft
from mmr.tracking import InMemoryTracking
from tests.stages.release_inputs import Inputs, write_gate, write_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Change = Callable[[Inputs, Path], Inputs]


def _rejected(inputs: Inputs, root: Path) -> Inputs:
    gate = write_gate(root / "gate", decision="reject")
    return Inputs(inputs.dataset, inputs.model, inputs.index, gate)


def _without_gate(inputs: Inputs, root: Path) -> Inputs:
    return Inputs(inputs.dataset, inputs.model, inputs.index, root)


def _other_model(inputs: Inputs, root: Path) -> Inputs:
    model = write_model(root / "other", seed=1)
    return Inputs(inputs.dataset, model, inputs.index, inputs.gate)


def _gate_of_another_model(inputs: Inputs, root: Path) -> Inputs:
    gate = write_gate(root / "gate")
    record = json.loads((gate / "gate.json").read_text())
    record["lineage"] = {"candidate_fingerprint": "0" * 64}
    (gate / "gate.json").write_text(json.dumps(record))
    return Inputs(inputs.dataset, inputs.model, inputs.index, gate)


def _other_dataset(inputs: Inputs, root: Path) -> Inputs:
    dataset = shutil.copytree(inputs.dataset, root / "dataset")
    record = json.loads((dataset / "dataset.json").read_text())
    (dataset / "dataset.json").write_text(json.dumps({**record, "content_hash": "0" * 64}))
    return Inputs(dataset, inputs.model, inputs.index, inputs.gate)


def _damaged_index(inputs: Inputs, root: Path) -> Inputs:
    index = shutil.copytree(inputs.index, root / "index")
    data = bytearray((index / "index.faiss").read_bytes())
    data[-1] ^= 0xFF
    (index / "index.faiss").write_bytes(data)
    return Inputs(inputs.dataset, inputs.model, index, inputs.gate)


def _pickle_beside_the_encoder(inputs: Inputs, root: Path) -> Inputs:
    model = shutil.copytree(inputs.model, root / "model")
    (model / "optimizer.pt").write_bytes(b"?")
    return Inputs(inputs.dataset, model, inputs.index, inputs.gate)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (_rejected, ArtifactError, "The gate decided 'reject'"),
        (_without_gate, ArtifactError, r"gate\.json is missing"),
        (_other_model, IndexMismatchError, "was built with encoder"),
        (_gate_of_another_model, ArtifactError, "The gate judged encoder 0000"),
        (_other_dataset, IndexMismatchError, "was built from dataset"),
        (_damaged_index, CorruptArtifactError, r"index\.faiss is corrupt"),
        (_pickle_beside_the_encoder, ArtifactError, r"optimizer\.pt may not go into a release"),
    ],
)
def test_what_does_not_belong_together_makes_no_release(
    change: Change,
    error: type[Exception],
    message: str,
    inputs: Inputs,
    registry: InMemoryTracking,
    tmp_path: Path,
) -> None:
    (tmp_path / "changed").mkdir()
    changed = change(inputs, tmp_path / "changed")
    with pytest.raises(error, match=message):
        changed.register(tmp_path / "releases", registry)
    assert list(tmp_path.glob("releases/*")) == []
    assert registry.releases() == []


def test_an_export_that_answers_differently_makes_no_release(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = release_draft._export
    other = write_model(tmp_path / "other", seed=5)
    monkeypatch.setattr(
        release_draft, "_export", lambda model, out, fingerprint: original(other, out, fingerprint)
    )
    with pytest.raises(ArtifactError, match="differs from the trained one: cosine distance"):
        inputs.register(tmp_path / "releases", registry)
    assert list(tmp_path.glob("releases/*")) == []


def test_a_damaged_release_is_not_taken_for_done(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    record = inputs.register(tmp_path / "releases", registry)
    (record.path / "golden.json").unlink()
    with pytest.raises(CorruptArtifactError, match=r"golden\.json is missing"):
        inputs.register(tmp_path / "releases", registry)
