"""All stages on an aligned pair: both backbones from one checkpoint, and both of them learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmr import stages
from mmr.config.model import FusionKind, TextSettings, VisionSettings
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.models.export import export_query_encoder
from mmr.models.storage import load_retriever
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.stages.embedding import embed_products, embed_queries
from tests.models import checkpoints


@pytest.fixture(scope="module")
def settings(tiny_settings: RunSettings, tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    location = str(checkpoints.siglip(tmp_path_factory.mktemp("pair") / "siglip", sharded=True))
    loop = tiny_settings.text_only.loop.model_copy(
        update={"steps": 4, "validate_every": 2, "backbone_learning_rate": 1e-3}
    )
    model = tiny_settings.model.model_copy(
        update={
            "dim": 16,
            "text": TextSettings(backbone=location, max_query_tokens=12, max_product_tokens=12),
            "vision": VisionSettings(backbone=location, colour_bins=2),
        }
    )
    changed = {
        name: getattr(tiny_settings, name).model_copy(update={"loop": loop})
        for name in ("text_only", "vision", "align", "fusion")
    }
    changed["fusion"] = changed["fusion"].model_copy(update={"kind": FusionKind.CROSS_ATTENTION})
    return tiny_settings.model_copy(update={"model": model, **changed})


@pytest.fixture(scope="module")
def models(
    tiny_dataset: Path, settings: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pair-stages")
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
    return {"text": text, "fused": fused, "cache": cache}


def test_what_the_checkpoint_decides_is_stored_by_every_stage(
    models: dict[str, Path], settings: RunSettings
) -> None:
    assert settings.model.vision.preprocessing == "checkpoint"

    stored = load_retriever(models["fused"]).settings

    assert (stored.text.pooling, stored.vision.pooling) == ("own", "own")
    assert (stored.vision.preprocessing, stored.vision.fit) == ("settings", "stretch")
    assert (stored.vision.height, stored.vision.width) == (32, 32)


def test_a_pair_is_trained_embedded_and_exported(
    models: dict[str, Path], tiny_dataset: Path, tmp_path: Path
) -> None:
    dataset = Dataset(tiny_dataset)
    queries = dataset.queries()["query"].tolist()[:16]
    export_query_encoder(models["fused"], tmp_path / "onnx", fingerprint="f" * 64)

    products = embed_products(models["fused"], dataset, cache=models["cache"])
    exported = OnnxQueryEncoder(tmp_path / "onnx").encode(queries)

    assert products.vectors.shape == (120, 16)
    np.testing.assert_allclose(np.linalg.norm(products.vectors, axis=1), 1, rtol=1e-4)
    expected = embed_queries(models["fused"], queries, cache=tmp_path / "cache")
    np.testing.assert_allclose(exported, expected, atol=2e-5)


@torch.no_grad()
def test_untrained_embeddings_of_the_stages_are_the_pairs_own(
    settings: RunSettings, tiny_dataset: Path, tmp_path: Path
) -> None:
    """The stages' way of reading texts and photographs adds nothing of its own."""
    from mmr.models.retriever import new_text_retriever
    from mmr.stages.features import image_features, query_features
    from mmr.stages.training_data import open_catalogue

    retriever = new_text_retriever(settings.model)
    retriever.with_images()
    retriever.eval()
    catalogue = open_catalogue(
        Dataset(tiny_dataset), vision=retriever.settings.vision, cache=tmp_path
    )
    queries = query_features(retriever, ["oak table", "Red dress"], cache=tmp_path)
    images = image_features(retriever, catalogue, cache=tmp_path)

    from transformers import SiglipModel

    pair = SiglipModel.from_pretrained(settings.model.vision.backbone).eval()
    tokens = retriever.text_encoder.tokenizer(
        ["oak table", "red dress"], padding="max_length", max_length=12, return_tensors="pt"
    )["input_ids"]
    text = pair.get_text_features(input_ids=tokens).pooler_output
    assert catalogue.pixels is not None
    rows = np.flatnonzero(catalogue.has_image)[:10]
    pixels = torch.from_numpy(catalogue.pixels[rows]).permute(0, 3, 1, 2)
    image = pair.get_image_features(pixel_values=pixels / 255 * 2 - 1).pooler_output
    assert retriever.image_head is not None
    ours = retriever.query_head(queries) @ retriever.image_head(images[rows]).T
    own = torch.nn.functional.cosine_similarity(text.unsqueeze(1), image.unsqueeze(0), dim=-1)
    torch.testing.assert_close(ours, own, atol=0.01, rtol=0.05)  # images in bf16 where it is fast
