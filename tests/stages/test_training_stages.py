"""The training stages on a tiny real shop with tiny real models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from mmr import stages
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.errors import ArtifactError, CorruptArtifactError, DataContractError
from mmr.models.export import export_query_encoder
from mmr.models.storage import load_retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages import training_run
from mmr.stages.embedding import embed_products, embed_queries
from mmr.stages.training_data import open_judged
from mmr.training import loop as training_loop
from mmr.training.figures import Figures


@pytest.fixture(scope="module")
def chain(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """All four stages, run once."""
    root = tmp_path_factory.mktemp("chain")
    cache = root / "cache"
    settings = tiny_settings
    names = ("text", "vision", "aligned", "fused")
    models = {name: root / name for name in names}
    stages.train_text_only(
        dataset=tiny_dataset, out=models["text"], settings=settings.text_only_stage, cache=cache
    )
    stages.finetune_vision(
        dataset=tiny_dataset,
        text_only=models["text"],
        out=models["vision"],
        settings=settings.vision_stage,
        cache=cache,
    )
    stages.align_queries(
        dataset=tiny_dataset,
        vision=models["vision"],
        out=models["aligned"],
        settings=settings.align_stage,
        cache=cache,
    )
    stages.train_fusion(
        dataset=tiny_dataset,
        aligned=models["aligned"],
        out=models["fused"],
        settings=settings.fusion_stage,
        cache=cache,
    )
    return {**models, "cache": cache}


def test_each_stage_hands_on_the_history_of_those_before_it(chain: dict[str, Path]) -> None:
    record = json.loads((chain["fused"] / "training.json").read_text())

    stages_seen = list(dict.fromkeys(entry["stage"] for entry in record["history"]))
    assert stages_seen == [
        "text_only",
        "finetune_vision",
        "align_queries",
        "train_fusion",
        "train_fusion.image_only",
    ]
    assert record["parent"] == encoder_fingerprint(chain["aligned"])
    assert all(0 <= entry["data_wait_share"] <= 1 for entry in record["history"])
    assert 0 <= record["data_wait_share"] <= 1


def test_fusion_starts_at_the_quality_of_alignment(chain: dict[str, Path]) -> None:
    aligned, fused = load_retriever(chain["aligned"]), load_retriever(chain["aligned"])
    fused.with_fusion(FusionKind.BILINEAR_EXPERTS)
    torch.manual_seed(0)
    text = torch.randn(6, aligned.text_encoder.hidden)
    image = torch.randn(6, aligned.image_encoder.features)  # type: ignore[union-attr]
    present = {"has_text": torch.ones(6).bool(), "has_image": torch.ones(6).bool()}

    torch.testing.assert_close(
        aligned.product_embedding(text, image, **present),
        fused.product_embedding(text, image, **present),
    )


def test_a_model_embeds_the_same_after_storing_and_moving(
    chain: dict[str, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "renamed"
    chain["text"].rename(moved)
    try:
        before = encoder_fingerprint(moved)
        queries = embed_queries(moved, ["red sofa", ""], cache=tmp_path / "cache")
    finally:
        moved.rename(chain["text"])

    assert before == encoder_fingerprint(chain["text"])
    again = embed_queries(chain["text"], ["red sofa", ""], cache=tmp_path / "other")
    np.testing.assert_array_equal(queries, again)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)


def test_product_vectors_depend_on_the_product_alone(
    chain: dict[str, Path], tiny_dataset: Path
) -> None:
    embedded = embed_products(chain["fused"], Dataset(tiny_dataset), cache=chain["cache"])
    retriever = load_retriever(chain["fused"])
    row = int(np.flatnonzero(embedded.has_image & embedded.has_text)[3])
    table = Dataset(tiny_dataset).product_table(["title", "description"])
    from mmr.stages.features import image_features, product_features
    from mmr.stages.training_data import open_catalogue

    catalogue = open_catalogue(
        Dataset(tiny_dataset), vision=retriever.settings.vision, cache=chain["cache"]
    )
    text = product_features(retriever, [catalogue.texts[row]], cache=chain["cache"])
    image = image_features(retriever, catalogue, cache=chain["cache"])[row : row + 1]
    with torch.no_grad():
        alone = retriever.product_embedding(
            text, image, has_text=torch.tensor([True]), has_image=torch.tensor([True])
        )

    assert table.num_rows == len(embedded.product_ids)
    np.testing.assert_allclose(embedded.vectors[row], retriever.served(alone)[0].numpy(), atol=5e-3)


def test_a_finished_stage_is_not_trained_again(
    chain: dict[str, Path], tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    report = stages.train_text_only(
        dataset=tiny_dataset,
        out=tmp_path / "again",
        settings=tiny_settings.text_only_stage,
        cache=chain["cache"],
    )

    assert report.reused
    assert encoder_fingerprint(tmp_path / "again") == encoder_fingerprint(chain["text"])


def test_a_killed_stage_resumes_to_the_same_model(
    chain: dict[str, Path],
    tiny_dataset: Path,
    tiny_settings: RunSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny_settings.text_only_stage
    steps: list[int] = []
    whole_step = training_loop._Run.step

    def dying(run: Any, feed: Any) -> None:
        step = run.state.step
        if step == 9 and 9 not in steps:
            steps.append(step)
            raise KeyboardInterrupt
        steps.append(step)
        whole_step(run, feed)

    monkeypatch.setattr(training_loop._Run, "step", dying)
    arguments = {"dataset": tiny_dataset, "settings": settings, "cache": tmp_path / "cache"}
    with pytest.raises(KeyboardInterrupt):
        stages.train_text_only(out=tmp_path / "model", **arguments)
    assert not (tmp_path / "model").exists()
    stages.train_text_only(out=tmp_path / "model", **arguments)

    assert steps == [*range(10), *range(8, 12)]  # the last checkpoint was after step 7
    assert encoder_fingerprint(tmp_path / "model") == encoder_fingerprint(chain["text"])


def test_the_same_seed_gives_the_same_model_and_another_seed_another(
    chain: dict[str, Path], tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    def train(seed: int) -> str:
        settings = tiny_settings.model_copy(update={"seed": seed}).text_only_stage
        out = tmp_path / f"seed-{seed}"
        stages.train_text_only(
            dataset=tiny_dataset, out=out, settings=settings, cache=tmp_path / "cache"
        )
        return encoder_fingerprint(out)

    assert train(tiny_settings.seed) == encoder_fingerprint(chain["text"])
    assert train(99) != encoder_fingerprint(chain["text"])


def test_the_text_backbone_learns_when_the_settings_let_it(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path
) -> None:
    stage = tiny_settings.text_only
    learning = stage.model_copy(
        update={"loop": stage.loop.model_copy(update={"backbone_learning_rate": 1e-3})}
    )
    settings = tiny_settings.model_copy(update={"text_only": learning}).text_only_stage
    stages.train_text_only(
        dataset=tiny_dataset, out=tmp_path / "model", settings=settings, cache=tmp_path / "cache"
    )

    record = json.loads((tmp_path / "model" / "training.json").read_text())
    tuned = load_retriever(tmp_path / "model").text_encoder.state_dict()
    from mmr.models.text import pretrained_text_encoder

    start = pretrained_text_encoder(settings.model.text).state_dict()
    changed = any(not torch.equal(tuned[name], start[name]) for name in start)
    assert changed == (record["best_step"] > 0)
    assert record["history"]


def test_the_exported_query_encoder_gives_pytorchs_vectors(
    chain: dict[str, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    export_query_encoder(chain["fused"], tmp_path / "onnx", fingerprint="f" * 64)
    queries = Dataset(tiny_dataset).queries()["query"].tolist()
    retriever = load_retriever(chain["fused"])
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "encoder.onnx"))
    tokens = retriever.text_encoder.tokenize(queries, max_tokens=32)

    answered = session.run(None, {name: value.numpy() for name, value in tokens.items()})[0]

    expected = embed_queries(chain["fused"], queries, cache=tmp_path / "cache")
    np.testing.assert_allclose(answered, expected, atol=1e-5)
    description = json.loads((tmp_path / "onnx" / "encoder.json").read_text())
    assert description["fingerprint"] == "f" * 64
    assert description["dim"] == 32


def test_a_damaged_model_is_refused_by_name(chain: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(chain["text"], broken)
    weights = broken / "encoder" / "weights.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[: len(content) // 2])

    with pytest.raises(CorruptArtifactError, match=r"weights\.safetensors"):
        load_retriever(broken)
    with pytest.raises(ArtifactError, match="not a model directory"):
        load_retriever(tmp_path / "nothing")


def test_training_without_judged_queries_is_refused_with_the_cure(tiny_dataset: Path) -> None:
    class Unjudged(Dataset):
        def judgements(self, split=None):  # type: ignore[no-untyped-def]
            return super().judgements(split).iloc[:0]

    with pytest.raises(DataContractError, match="judgements"):
        open_judged(Unjudged(tiny_dataset), "train")


def test_reports_are_flat_figures(chain: dict[str, Path]) -> None:
    from mmr.stages.stage_report import StageReport

    report = StageReport("train_fusion", 12, 6, Figures(0.5, 0.4, 0.8), 0.01, 1.0, reused=False)

    assert replace(report, seconds=2.0).as_metrics()["seconds"] == 2.0
    assert set(report.as_metrics()) == {
        "steps",
        "best_step",
        "validation_ndcg_at_10",
        "validation_recall_at_10",
        "validation_recall_at_100",
        "data_wait_share",
        "seconds",
    }


def test_a_training_returns_its_memory_and_a_reused_result_has_none_to_return(
    tiny_dataset: Path, tiny_settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    returned: list[bool] = []
    monkeypatch.setattr(training_run, "return_freed_memory", lambda: returned.append(True))

    for name in ("first", "second"):
        stages.train_text_only(
            dataset=tiny_dataset,
            out=tmp_path / name,
            settings=tiny_settings.text_only_stage,
            cache=tmp_path / "cache",
        )

    assert len(returned) == 1
