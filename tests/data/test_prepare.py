"""Preparation: splits that do not leak, images of one size."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from mmr.config.data import PrepareConfig
from mmr.data.dataset import Dataset
from mmr.data.images import ImageProblemError, map_in_order, normalise_image
from mmr.data.writer import new_dataset
from mmr.errors import ArtifactError, DataContractError
from mmr.stages.prepare import prepare


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def make_dataset(
    path: Path,
    *,
    splits: list[str],
    products: int = 40,
    cold: list[bool | None] | None = None,
    images: dict[int, bytes] | None = None,
) -> Path:
    """Query i is judged with product i, modulo the number of products."""
    with new_dataset(path, attributes={"cold_start": pa.bool_()} if cold else {}) as writer:
        for i in range(products):
            data = (images or {}).get(i)
            row: dict[str, Any] = {
                "product_id": f"p{i}",
                "title": f"Title {i}",
                "description": "",
                "image": {"bytes": data, "path": f"{i}.png"} if data is not None else None,
            }
            if cold:
                row["cold_start"] = cold[i]
            writer.add_products([row])
        ids = [f"q{i}" for i in range(len(splits))]
        queries = {"query_id": ids, "query": [f"query {i}" for i in range(len(splits))]}
        writer.set_queries(pd.DataFrame({**queries, "kind": "", "split": splits}))
        judged = [f"p{i % products}" for i in range(len(splits))]
        writer.set_judgements(pd.DataFrame({"query_id": ids, "product_id": judged, "grade": 1}))
        writer.finish(name="made", prepared=None)
    return path


def products(path: Path) -> list[dict[str, Any]]:
    return [row for batch in Dataset(path).product_batches() for row in batch.to_pylist()]


def test_a_given_split_is_respected_and_cold_start_computed(tmp_path: Path) -> None:
    source = make_dataset(tmp_path / "in", splits=["train", "validation", "test"], products=4)

    report = prepare(dataset=source, out=tmp_path / "out", settings=PrepareConfig())

    dataset = Dataset(tmp_path / "out")
    assert dataset.queries()["split"].tolist() == ["train", "validation", "test"]
    assert set(dataset.queries()["kind"]) == {"all"}
    cold = {row["product_id"]: row["cold_start"] for row in products(tmp_path / "out")}
    assert cold == {"p0": False, "p1": True, "p2": True, "p3": False}
    assert (report.split, report.judgements_removed) == ("given", 0)


def test_declared_cold_start_is_kept(tmp_path: Path) -> None:
    source = make_dataset(
        tmp_path / "in", splits=["train", "validation"], products=2, cold=[True, None]
    )

    prepare(dataset=source, out=tmp_path / "out", settings=PrepareConfig())

    assert [row["cold_start"] for row in products(tmp_path / "out")] == [True, False]


def test_a_computed_split_keeps_cold_start_products_out_of_train(tmp_path: Path) -> None:
    source = make_dataset(tmp_path / "in", splits=[""] * 200)

    report = prepare(
        dataset=source, out=tmp_path / "out", settings=PrepareConfig(cold_start_share=0.2)
    )

    dataset = Dataset(tmp_path / "out")
    cold = {row["product_id"] for row in products(tmp_path / "out") if row["cold_start"]}
    assert report.cold_start_products == len(cold) > 0
    assert not cold & set(dataset.judgements("train")["product_id"])
    assert cold & set(dataset.judgements("validation")["product_id"])
    assert dataset.manifest.judgements == 200 - report.judgements_removed < 200


def test_half_a_split_is_refused(tmp_path: Path) -> None:
    source = make_dataset(tmp_path / "in", splits=["train", ""])

    with pytest.raises(DataContractError, match=r"1 of 2 queries have no split \(q1 …\)"):
        prepare(dataset=source, out=tmp_path / "out", settings=PrepareConfig())
    assert not (tmp_path / "out").exists()


def test_prepared_with_the_same_settings_is_linked(tmp_path: Path) -> None:
    source = make_dataset(tmp_path / "in", splits=["train", "validation"])
    settings = PrepareConfig(image_px=64)
    first = prepare(dataset=source, out=tmp_path / "one", settings=settings)

    second = prepare(dataset=tmp_path / "one", out=tmp_path / "two", settings=settings)
    other = prepare(
        dataset=tmp_path / "one", out=tmp_path / "three", settings=PrepareConfig(image_px=32)
    )

    assert (second.linked, other.linked) == (True, False)
    assert second.content_hash == first.content_hash
    shard = "products/part-00000.parquet"
    assert (tmp_path / "one" / shard).samefile(tmp_path / "two" / shard)


def test_out_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    source = make_dataset(tmp_path / "in", splits=["train"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")

    with pytest.raises(ArtifactError, match=r"has no dataset\.json"):
        prepare(dataset=source, out=tmp_path / "out", settings=PrepareConfig(), replace=True)


def test_large_image_is_scaled_and_damaged_one_is_named(tmp_path: Path) -> None:
    picture = encoded(Image.new("RGB", (400, 200), "red"), "PNG")
    good = make_dataset(tmp_path / "good", splits=["train"], images={1: picture})
    bad = make_dataset(tmp_path / "bad", splits=["train"], images={1: picture[:60]})

    report = prepare(dataset=good, out=tmp_path / "out", settings=PrepareConfig(image_px=100))

    image = products(tmp_path / "out")[1]["image"]
    assert report.images_changed == 1
    assert image["path"] == "1.jpg"
    with Image.open(io.BytesIO(image["bytes"])) as opened:
        assert (opened.format, opened.size) == ("JPEG", (100, 50))
    with pytest.raises(DataContractError, match="image of product 'p1' is damaged"):
        prepare(dataset=bad, out=tmp_path / "never", settings=PrepareConfig())


def test_small_plain_jpeg_is_kept_byte_for_byte() -> None:
    data = encoded(Image.effect_noise((60, 80), 50).convert("RGB"), "JPEG", quality=70)

    assert normalise_image(data, longest_px=80, quality=90) is data
    assert normalise_image(data, longest_px=79, quality=90) is not data


def gradient(mode: str) -> Image.Image:
    wide = np.tile(np.linspace(0, 65535, 60, dtype=np.uint16), (20, 1))
    return Image.fromarray(wide) if mode == "I;16" else Image.new(mode, (60, 20))


@pytest.mark.parametrize(
    ("make", "kind", "corner"),
    [
        (lambda: Image.new("RGBA", (60, 20), (0, 0, 0, 0)), "PNG", (255, 255, 255)),
        (lambda: Image.new("LA", (60, 20), (0, 0)), "PNG", (255, 255, 255)),
        (lambda: Image.new("L", (60, 20), 128), "JPEG", (128, 128, 128)),
        (lambda: Image.new("CMYK", (60, 20), (0, 0, 0, 0)), "JPEG", (255, 255, 255)),
        (lambda: Image.new("P", (60, 20)), "GIF", (0, 0, 0)),
        (lambda: gradient("I;16"), "PNG", (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb_on_white(
    make: Callable[[], Image.Image], kind: str, corner: tuple[int, int, int]
) -> None:
    data = normalise_image(encoded(make(), kind), longest_px=100, quality=95)

    with Image.open(io.BytesIO(data)) as image:
        assert (image.mode, image.format, image.size) == ("RGB", "JPEG", (60, 20))
        assert image.getpixel((0, 0)) == pytest.approx(corner, abs=3)
        if make().mode == "I;16":
            assert image.getpixel((59, 0)) == pytest.approx((255, 255, 255), abs=3)


def test_the_cameras_orientation_is_applied() -> None:
    picture = Image.new("RGB", (60, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    data = normalise_image(encoded(picture, "JPEG", exif=exif), longest_px=100, quality=90)

    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (20, 60)
        assert image.getexif().get(0x0112, 1) == 1


def test_parallel_work_keeps_the_order_and_passes_errors_on() -> None:
    assert list(map_in_order(lambda value: value * 2, range(1000))) == list(range(0, 2000, 2))

    def fail(value: int) -> int:
        if value == 500:
            raise ImageProblemError("is odd")
        return value

    with pytest.raises(ImageProblemError):
        list(map_in_order(fail, range(1000)))


def test_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match=r"must add up to 1, not 1\.2"):
        PrepareConfig(train_share=0.8, validation_share=0.4)
