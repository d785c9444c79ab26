"""Registration of a real, tiny model: a BERT of one layer, exported and indexed for real."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmr.config.index import IndexConfig
from mmr.data.writer import new_dataset
from mmr.errors import ArtifactError, CorruptArtifactError, IndexMismatchError
from mmr.indexing import ProductIndex
from mmr.release.bundle import Release
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.release.query_profile import QueryPlacer, QueryProfile
from mmr.stages import release_draft
from mmr.stages.build_index import build_index
from mmr.stages.embed_catalogue import embed_catalogue
from mmr.stages.register_release import ReleaseRecord, register_release
from mmr.tracking import InMemoryTracking

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

COLOURS = ["red", "blue", "green", "white", "black", "pink"]
TYPES = ["sofa", "lamp", "chair", "table", "vase"]


@dataclass(frozen=True)
class Inputs:
    """The directories that the steps before would have written."""

    dataset: Path
    model: Path
    index: Path
    gate: Path

    def register(self, releases: Path, registry: InMemoryTracking, **more: object) -> ReleaseRecord:
        return register_release(
            dataset=self.dataset,
            model=self.model,
            index=self.index,
            gate=self.gate,
            releases=releases,
            registry=registry,
            **more,
        )


def write_dataset(path: Path) -> Path:
    names = [f"{colour} {kind}" for colour in COLOURS for kind in TYPES]
    queries = pd.DataFrame(
        {
            "query_id": [f"q{row}" for row in range(len(names))],
            "query": names,
            "kind": "visual",
            "split": ["validation" if row % 2 else "train" for row in range(len(names))],
        }
    )
    judgements = pd.DataFrame(
        {
            "query_id": queries["query_id"],
            "product_id": [f"p{row}" for row in range(len(names))],
            "grade": 1,
        }
    )
    with new_dataset(path, attributes={}) as writer:
        writer.add_products(
            {"product_id": f"p{row}", "title": name, "description": None, "image": None}
            for row, name in enumerate(names)
        )
        writer.set_queries(queries)
        writer.set_judgements(judgements)
        writer.finish(name="tiny", prepared=None)
    return path


def write_model(path: Path, *, seed: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from mmr.config.model import ModelSettings, TextSettings
    from mmr.models.retriever import new_text_retriever
    from mmr.models.storage import save_retriever

    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *TYPES]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    checkpoint = path.with_name(f"{path.name}-checkpoint")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(checkpoint)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(checkpoint)
    settings = ModelSettings(
        text=TextSettings(backbone=str(checkpoint), max_query_tokens=8, max_product_tokens=8),
        dim=12,
        head_hidden=16,
    )
    path.mkdir()
    save_retriever(new_text_retriever(settings), path, training={})
    return path


def write_gate(path: Path, *, decision: str = "promote") -> Path:
    path.mkdir()
    record = {
        "decision": decision,
        "mlflow_run_id": "run-1",
        "metrics": {"candidate": {"overall": {"ndcg_at_10": 0.5}, "slices": {}}},
    }
    (path / "gate.json").write_text(json.dumps(record))
    (path / "report.html").write_text("<html></html>")
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    dataset = write_dataset(root / "dataset")
    model = write_model(root / "model", seed=0)
    embed_catalogue(dataset=dataset, model=model, out=root / "vectors", cache=root / "cache")
    build_index(vectors=root / "vectors", out=root / "index", settings=IndexConfig())
    return Inputs(dataset, model, root / "index", write_gate(root / "gate"))


@pytest.fixture
def registry() -> InMemoryTracking:
    return InMemoryTracking()


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
