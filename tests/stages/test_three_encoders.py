"""All stages with MAKE's three encoders and cross-attention, on a tiny real shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmr import stages
from mmr.config.model import CrossAttentionSettings, FusionKind
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.models.export import export_query_encoder
from mmr.models.retriever import Retriever, new_text_retriever
from mmr.models.storage import load_retriever, save_retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.embedding import embed_products, embed_queries
from mmr.stages.features import image_features, product_features
from mmr.stages.token_features import product_tokens
from mmr.stages.training_data import open_catalogue


@pytest.fixture(scope="module")
def settings(tiny_settings: RunSettings) -> RunSettings:
    """Queries have an encoder of their own, which learns; the fusion reads tokens."""
    model = tiny_settings.model
    text_only, fusion = tiny_settings.text_only, tiny_settings.fusion
    learning = text_only.loop.model_copy(update={"backbone_learning_rate": 2e-3})
    return tiny_settings.model_copy(
        update={
            "model": model.model_copy(
                update={
                    "text": model.text.model_copy(update={"own_query_encoder": True}),
                    "cross_attention": CrossAttentionSettings(
                        text_tokens=6, image_cells=2, width=16, heads=2
                    ),
                }
            ),
            "text_only": text_only.model_copy(update={"loop": learning}),
            "fusion": fusion.model_copy(update={"kind": FusionKind.CROSS_ATTENTION}),
        }
    )


@pytest.fixture(scope="module")
def models(
    tiny_dataset: Path, settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("three")
    cache, dataset = root / "cache", tiny_dataset
    text, vision, aligned, fused = (root / name for name in ("text", "vision", "aligned", "fused"))
    stages.train_text_only(
        dataset=dataset, out=text, settings=settings.text_only_stage, cache=cache
    )
    stages.finetune_vision(
        dataset=dataset, text_only=text, out=vision, settings=settings.vision_stage, cache=cache
    )
    stages.align_queries(
        dataset=dataset, vision=vision, out=aligned, settings=settings.align_stage, cache=cache
    )
    stages.train_fusion(
        dataset=dataset, aligned=aligned, out=fused, settings=settings.fusion_stage, cache=cache
    )
    return {"text": text, "aligned": aligned, "fused": fused, "cache": cache}


def test_three_encoders_start_as_the_pretrained_one_and_are_kept_by_every_stage(
    models: dict[str, Path], settings: RunSettings
) -> None:
    start = new_text_retriever(settings.model)
    fused = load_retriever(models["fused"])

    assert start.own_query_encoder is not None
    assert start.own_query_encoder is not start.text_encoder
    for name, value in start.text_encoder.state_dict().items():
        assert torch.equal(value, start.own_query_encoder.state_dict()[name])
    assert fused.own_query_encoder is not None
    assert fused.query_encoder is fused.own_query_encoder


def test_both_text_encoders_learn_by_themselves(tiny_dataset: Path, settings: RunSettings) -> None:
    from mmr.stages.training_data import open_judged
    from mmr.training.objectives import TextOnlyObjective
    from mmr.training.query_objective import TrainingInputs
    from mmr.training.shown_texts import ShownTexts
    from mmr.training.text_source import LearningText

    retriever = new_text_retriever(settings.model)
    dataset = Dataset(tiny_dataset)
    judged = open_judged(dataset, "train")
    catalogue = open_catalogue(dataset, vision=None, cache=tiny_dataset)
    text = LearningText(
        retriever.text_encoder,
        query_encoder=retriever.query_encoder,
        queries=judged.queries,
        products=ShownTexts(catalogue.texts),
        settings=settings.model.text,
    )
    objective = TextOnlyObjective(
        retriever, TrainingInputs(catalogue, judged, text), settings.text_only_stage
    )

    objective.loss(objective.batch(0)).backward()

    assert retriever.own_query_encoder is not None
    own, shared = (
        dict(encoder.named_parameters())["backbone.encoder.layer.0.output.dense.weight"].grad
        for encoder in (retriever.own_query_encoder, retriever.text_encoder)
    )
    assert own is not None
    assert shared is not None
    assert not torch.equal(own, shared)


def test_queries_and_products_are_read_by_different_encoders(
    models: dict[str, Path], tmp_path: Path
) -> None:
    retriever = load_retriever(models["fused"])
    assert retriever.own_query_encoder is not None
    with torch.no_grad():
        for parameter in retriever.own_query_encoder.parameters():
            parameter.add_(0.1)
    changed = tmp_path / "changed"
    changed.mkdir()
    save_retriever(retriever, changed, training={"history": []})

    cache = tmp_path / "cache"
    before = embed_queries(models["fused"], ["red sofa"], cache=cache)
    after = embed_queries(changed, ["red sofa"], cache=cache)
    original = load_retriever(models["fused"])

    assert not np.allclose(before, after)
    assert encoder_fingerprint(changed) != encoder_fingerprint(models["fused"])
    torch.testing.assert_close(
        product_features(original, ["sofa"], cache=cache),
        product_features(load_retriever(changed), ["sofa"], cache=cache),
    )


def test_the_exported_query_tower_is_the_query_encoder_of_its_own(
    models: dict[str, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    queries = Dataset(tiny_dataset).queries()["query"].tolist()[:20]
    export_query_encoder(models["fused"], tmp_path / "onnx", fingerprint="f" * 64)

    exported = OnnxQueryEncoder(tmp_path / "onnx").encode(queries)

    expected = embed_queries(models["fused"], queries, cache=tmp_path / "cache")
    np.testing.assert_allclose(exported, expected, atol=1e-5)


def _embedding(retriever: Retriever, dataset: Path, cache: Path, rows: list[int]) -> torch.Tensor:
    """Some products embedded from scratch, one at a time, without any kept token."""
    catalogue = open_catalogue(Dataset(dataset), vision=retriever.settings.vision, cache=cache)
    texts = product_features(retriever, catalogue.texts, cache=cache)
    images = image_features(retriever, catalogue, cache=cache)
    tokens = product_tokens(retriever, catalogue, cache=cache)
    return torch.cat(
        [
            retriever.product_embedding(
                texts[[row]],
                images[[row]],
                has_text=torch.from_numpy(catalogue.has_text[[row]]),
                has_image=torch.from_numpy(catalogue.has_image[[row]]),
                tokens=None if tokens is None else tokens.of(np.asarray([row])),
            )
            for row in rows
        ]
    )


@torch.no_grad()
def test_kept_tokens_are_the_backbones_states(
    models: dict[str, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    retriever = load_retriever(models["fused"])
    catalogue = open_catalogue(
        Dataset(tiny_dataset), vision=retriever.settings.vision, cache=models["cache"]
    )
    kept = product_tokens(retriever, catalogue, cache=tmp_path)
    assert kept is not None
    row = int(np.flatnonzero(catalogue.has_image & catalogue.has_text)[5])

    read = kept.of(np.asarray([row]))

    tokens = retriever.text_encoder.tokenize([catalogue.texts[row]], max_tokens=6)
    states = retriever.text_encoder.token_states(**tokens)
    length = states.shape[1]
    assert read.text_mask[0].tolist() == [True] * length + [False] * (6 - length)
    torch.testing.assert_close(read.text[:, :length], states, atol=0.05, rtol=0.05)  # bf16, fp16
    assert catalogue.pixels is not None
    assert retriever.image_encoder is not None
    pixels = torch.from_numpy(catalogue.pixels[np.asarray([row])]).permute(0, 3, 1, 2)
    states = retriever.image_encoder.backbone(
        pixel_values=(pixels / 255 - 0.5) / 0.5
    ).last_hidden_state  # (1, channels, height, width)
    height, width = states.shape[2] // 2, states.shape[3] // 2
    corner = states[0, :, :height, width:].mean((1, 2))  # top right: the second cell of four
    torch.testing.assert_close(read.image[0, 1], corner, atol=0.05, rtol=0.05)


def test_kept_tokens_are_small_and_read_from_disk(
    models: dict[str, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    retriever = load_retriever(models["fused"])
    catalogue = open_catalogue(
        Dataset(tiny_dataset), vision=retriever.settings.vision, cache=models["cache"]
    )

    kept = product_tokens(retriever, catalogue, cache=tmp_path)

    assert kept is not None
    assert isinstance(kept.text, np.memmap)
    assert isinstance(kept.image, np.memmap)
    assert kept.text.dtype == kept.image.dtype == np.float16
    assert kept.text.nbytes == len(catalogue) * 6 * 32 * 2
    assert kept.image.nbytes == len(catalogue) * 4 * 16 * 2


def test_other_fusions_keep_no_tokens(
    models: dict[str, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    retriever = load_retriever(models["aligned"])
    catalogue = open_catalogue(
        Dataset(tiny_dataset), vision=retriever.settings.vision, cache=models["cache"]
    )

    assert product_tokens(retriever, catalogue, cache=tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_a_catalogue_is_embedded_by_cross_attention_product_by_product(
    models: dict[str, Path], tiny_dataset: Path
) -> None:
    embedded = embed_products(models["fused"], Dataset(tiny_dataset), cache=models["cache"])
    retriever = load_retriever(models["fused"])
    rows = [0, 7, 50]

    alone = retriever.served(_embedding(retriever, tiny_dataset, models["cache"], rows))

    assert retriever.kind is FusionKind.CROSS_ATTENTION
    np.testing.assert_allclose(embedded.vectors[rows], alone.numpy(), atol=1e-5)


@torch.no_grad()
def test_cross_attention_starts_exactly_at_the_aligned_model(
    models: dict[str, Path], tiny_dataset: Path
) -> None:
    aligned, fused = load_retriever(models["aligned"]), load_retriever(models["aligned"])
    fused.with_fusion(FusionKind.CROSS_ATTENTION)
    rows = list(range(0, 120, 7))

    torch.testing.assert_close(
        _embedding(aligned, tiny_dataset, models["cache"], rows),
        _embedding(fused, tiny_dataset, models["cache"], rows),
    )
