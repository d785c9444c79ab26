import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.release.query_encoder import BATCH_SIZE, OnnxQueryEncoder
from mmr.types import Float32Array

Reference = Callable[..., Float32Array]


def test_embeddings_equal_those_worked_out_by_hand(encoder_dir: Path, reference: Reference) -> None:
    texts = ["red sofa", "blue", "oak lamp red blue sofa", "unknown words"]
    encoder = OnnxQueryEncoder(encoder_dir)
    np.testing.assert_allclose(
        encoder.encode(texts), [reference(text) for text in texts], atol=1e-6
    )
    assert (encoder.dim, encoder.fingerprint) == (6, "f" * 64)


def test_a_batch_gives_the_same_as_one_by_one_in_the_same_order(encoder_dir: Path) -> None:
    words = ["red", "blue", "sofa", "lamp", "oak"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, rng.integers(0, 12))) for _ in range(2 * BATCH_SIZE + 7)]
    encoder = OnnxQueryEncoder(encoder_dir)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "\x00\n", "🛋️", "sofa " * 10_000, "ソファ"])
def test_any_text_has_an_embedding(text: str, encoder_dir: Path) -> None:
    embedding = OnnxQueryEncoder(encoder_dir).encode([text])
    assert embedding.shape == (1, 6)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_no_text_gives_no_embedding(encoder_dir: Path) -> None:
    assert OnnxQueryEncoder(encoder_dir).encode([]).shape == (0, 6)


def test_long_queries_are_cut_and_the_prefix_is_put_before(
    write_query_encoder: Callable[..., Path], reference: Reference
) -> None:
    encoder = OnnxQueryEncoder(write_query_encoder(max_tokens=3, prefix="red "))
    np.testing.assert_allclose(
        encoder.encode(["sofa lamp oak"])[0], reference("red sofa", max_tokens=3), atol=1e-6
    )


def test_a_foreign_format_is_refused(encoder_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not an exported query encoder"):
        OnnxQueryEncoder(tmp_path)
    record = json.loads((encoder_dir / "encoder.json").read_text())
    (encoder_dir / "encoder.json").write_text(json.dumps({**record, "format_version": 2}))
    with pytest.raises(ArtifactError, match="format version 2, but this mmr reads version 1"):
        OnnxQueryEncoder(encoder_dir)


@pytest.mark.parametrize("file", ["encoder.onnx", "tokenizer.json", "encoder.json"])
def test_a_damaged_file_is_named(file: str, encoder_dir: Path) -> None:
    (encoder_dir / file).write_bytes(b"\x08garbage")
    with pytest.raises(CorruptArtifactError, match=file.replace(".", r"\.")):
        OnnxQueryEncoder(encoder_dir)


@pytest.mark.parametrize(
    ("file", "limit"),
    [("encoder.json", 1 << 20), ("tokenizer.json", 1 << 28), ("encoder.onnx", 1 << 31)],
)
def test_a_file_beyond_its_limit_is_refused_unread(
    file: str, limit: int, encoder_dir: Path
) -> None:
    os.truncate(encoder_dir / file, limit + 1)  # sparse: it takes no room
    with pytest.raises(CorruptArtifactError, match=rf"{file}.*{limit}"):
        OnnxQueryEncoder(encoder_dir)


def test_a_model_that_does_not_normalise_is_refused(encoder_dir: Path) -> None:
    import onnx

    model = onnx.load(encoder_dir / "encoder.onnx")
    model.graph.node[-1].CopyFrom(onnx.helper.make_node("Identity", ["sum"], ["embedding"]))
    onnx.save(model, encoder_dir / "encoder.onnx")
    with pytest.raises(CorruptArtifactError, match="lengths from"):
        OnnxQueryEncoder(encoder_dir).encode(["red sofa"])


def test_serving_needs_no_training_library(encoder_dir: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "import mmr.indexing, mmr.release.bundle\n"
        "from mmr.release.query_encoder import OnnxQueryEncoder\n"
        f"OnnxQueryEncoder(Path({str(encoder_dir)!r})).encode(['red sofa'])\n"
        "print({'torch', 'transformers', 'mlflow', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
