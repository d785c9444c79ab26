"""Registration of a real, tiny model: a BERT of one layer, exported and indexed for real."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmr.indexing import ProductIndex
from mmr.release.bundle import Release
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.release.query_profile import QueryPlacer, QueryProfile
from mmr.stages.register_release import ReleaseRecord
from mmr.tracking import InMemoryTracking
from tests.stages.release_inputs import COLOURS, TYPES, Inputs, write_gate

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_release_holds_all_that_serves_and_its_proof(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "validation.json").write_text("{}")
    record = inputs.register(
        tmp_path / "releases",
        registry,
        settings={"preset": "quick"},
        validation=tmp_path / "validation",
        git_revision="abc",
    )

    release = Release.open(record.path, verify="hashes")
    assert record.path == tmp_path / "releases" / release.release_id
    manifest = release.manifest
    assert (manifest.gate_decision, manifest.mlflow_run_id, manifest.git_revision) == (
        "promote",
        "run-1",
        "abc",
    )
    assert manifest.metrics == {"candidate/ndcg_at_10": 0.5, "index_recall_at_100": 1.0}
    assert {"evidence/gate.json", "evidence/report.html", "evidence/validation.json"} <= set(
        manifest.files
    )
    assert json.loads((record.path / "settings.json").read_text()) == {"preset": "quick"}
    assert record.parity.max_cosine_distance < 1e-6
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [release.release_id]


def test_cards_tell_what_is_known_and_call_the_rest_unknown(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    settings = {"licences": {"data": "CC BY 4.0"}, "fusion": {"kind": "gate"}}
    record = inputs.register(
        tmp_path / "releases", registry, settings=settings, dataset_revision="ab12"
    )

    evidence = record.path / "evidence"
    model, data = ((evidence / name).read_text() for name in ("model_card.md", "data_card.md"))
    assert f"| encoder fingerprint | `{record_fingerprint(record)}` |" in model
    assert "| fusion of text and image | gate |" in model
    assert "| ndcg_at_10 | 0.5000 |" in model
    assert "| release | unknown: not stated in the settings (`licences.release`) |" in model
    assert "| data | CC BY 4.0 |" in data
    assert "| revision (DVC) | ab12 |" in data
    assert "| products without an image | 30 (100.0%) |" in data
    assert "| validation, visual | 15 |" in data
    assert "No validation on record." in data


def record_fingerprint(record: ReleaseRecord) -> str:
    return Release.open(record.path).manifest.encoder_fingerprint


def test_golden_queries_are_what_the_release_answers(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    release = Release.open(inputs.register(tmp_path / "releases", registry).path)
    encoder = OnnxQueryEncoder(release.query_encoder_dir)
    index = ProductIndex.open(release.index_dir, encoder_fingerprint=encoder.fingerprint)
    golden = release.golden_queries()
    assert len(golden) >= 8
    assert {query.text.split()[0] for query in golden} <= set(COLOURS)
    for query in golden:
        embedding = encoder.encode([query.text])
        np.testing.assert_allclose(embedding[0], query.embedding, atol=1e-6)
        rows, scores = index.search(embedding, 10)
        assert [index.product_ids[row] for row in rows[0]] == query.product_ids
        np.testing.assert_allclose(scores[0], query.scores, atol=1e-6)


def test_release_remembers_what_its_training_queries_were_like(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    release = Release.open(inputs.register(tmp_path / "releases", registry).path)
    fingerprint = release.manifest.encoder_fingerprint
    profile = QueryProfile.read(release.path, encoder_fingerprint=fingerprint)

    assert "query_profile/profile.json" in release.manifest.files
    assert profile is not None
    assert profile.queries == 15  # every other query of 30 is of the split train
    assert profile.lengths[2] == 15
    assert profile.scores is None  # 15 validation queries say too little
    placer = QueryPlacer(profile)
    assert placer.count_words("red hammock").new == 1
    train = [f"{colour} {kind}" for colour in COLOURS for kind in TYPES][::2]
    bins = placer.bins(OnnxQueryEncoder(release.query_encoder_dir).encode(train))
    for number, axis in enumerate(profile.axes):
        found = np.bincount(bins[:, number], minlength=len(axis.expected))
        assert np.abs(found - axis.expected).sum() <= 2


def test_registering_the_same_again_is_a_no_op(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    first = inputs.register(tmp_path / "releases", registry)
    stamp = (first.path / "release.json").stat().st_mtime_ns
    again = inputs.register(tmp_path / "releases", registry)
    assert (again.release_id, again.version) == (first.release_id, first.version)
    assert (first.path / "release.json").stat().st_mtime_ns == stamp
    assert len(registry.releases()) == 1


def judged_again(inputs: Inputs, gate: Path, *, decision: str, baseline: str, ms: float) -> Inputs:
    """The same model after another gate, which measured other times in another run."""
    write_gate(gate, decision=decision)
    record = json.loads((gate / "gate.json").read_text())
    serving = {"latency_p50_ms": ms / 2, "latency_p99_ms": ms, "latency_queries": 200}
    record |= {"baseline_name": baseline, "mlflow_run_id": f"run-{ms}", "serving": serving}
    (gate / "gate.json").write_text(json.dumps(record))
    return Inputs(inputs.dataset, inputs.model, inputs.index, gate)


def test_the_champion_judged_against_itself_is_no_new_release(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    first = inputs.register(tmp_path / "releases", registry, git_revision="abc")
    registry.promote(first.release_id, expected=None, why="", who="")

    itself = judged_again(
        inputs, tmp_path / "g", decision="hold", baseline=f"champion {first.release_id}", ms=3.0
    )
    again = itself.register(tmp_path / "releases", registry, git_revision="def")

    assert (again.release_id, again.alias) == (first.release_id, "champion")
    assert again.gate_decision == "hold"
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [first.release_id]
    assert len(registry.releases()) == 1
    assert registry.resolve("candidate") is None


def test_a_candidate_judged_again_on_the_same_grounds_is_no_new_release(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    def register(name: str, decision: str, baseline: str, ms: float, **more: object) -> str:
        judged = judged_again(inputs, tmp_path / name, decision=decision, baseline=baseline, ms=ms)
        return judged.register(tmp_path / "releases", registry, **more).release_id

    first = register("a", "hold", "tuned text-only", 3.0)
    assert register("b", "hold", "tuned text-only", 4.0) == first
    promoted = register("c", "promote", "tuned text-only", 4.0)
    other_baseline = register("d", "hold", "champion 0123456789abcdef", 4.0)
    other_settings = register("e", "hold", "tuned text-only", 4.0, settings={"seed": 8})
    assert len({first, promoted, other_baseline, other_settings}) == 4
    assert register("f", "promote", "tuned text-only", 5.0) == promoted
    assert registry.resolve("candidate") == promoted


def test_a_damaged_release_beside_it_is_no_obstacle(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    (tmp_path / "releases" / "0123456789abcdef").mkdir(parents=True)
    (tmp_path / "releases" / "0123456789abcdef" / "release.json").write_text("{")
    record = inputs.register(tmp_path / "releases", registry)
    assert Release.open(record.path, verify="hashes").release_id == record.release_id


def test_a_new_release_is_the_candidate_until_it_is_the_champion(
    inputs: Inputs, registry: InMemoryTracking, tmp_path: Path
) -> None:
    record = inputs.register(tmp_path / "releases", registry)
    assert record.alias == "candidate"
    assert registry.resolve("candidate") == record.release_id
    registry.promote(record.release_id, expected=None, why="", who="")
    again = inputs.register(tmp_path / "releases", registry)
    assert again.alias == "champion"
    assert registry.resolve("candidate") is None
