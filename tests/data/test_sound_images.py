"""Photographs are decoded once, not every night, and believed on all of their bytes alone."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmr.config.data import ImportConfig, PrepareConfig, ValidationConfig
from mmr.data import sound_images
from mmr.data.images import ImageLimits, ImageProblemError
from mmr.data.sound_images import SoundImages
from mmr.errors import DataContractError, ValidationFailedError
from mmr.stages.import_data import import_data
from mmr.stages.prepare import prepare
from mmr.stages.validate_data import validate_data
from tests.data.test_validation import changed, make_dataset

LIMITS = ImageLimits()


def jpeg(shade: int, size: tuple[int, int] = (60, 80)) -> bytes:
    buffer = io.BytesIO()
    noise = Image.effect_noise(size, 40).point(lambda value: (value + shade) % 256)
    noise.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What has really been decoded."""
    seen: list[bytes] = []
    check = sound_images.check_image

    def watched(data: bytes, limits: ImageLimits) -> tuple[int, int]:
        seen.append(data)
        return check(data, limits)

    monkeypatch.setattr(sound_images, "check_image", watched)
    return seen


def test_what_was_decoded_once_is_known_in_the_next_run(
    tmp_path: Path, decoded: list[bytes]
) -> None:
    file, (one, two) = tmp_path / "cache" / "images.npz", (jpeg(0), jpeg(90, (40, 30)))
    first = SoundImages(file)
    assert (first.size_of(one, LIMITS), first.size_of(two, LIMITS)) == ((60, 80), (40, 30))
    first.keep()
    decoded.clear()

    second = SoundImages(file)
    assert second.size_of(two, LIMITS) == (40, 30)
    second.keep()

    assert decoded == []
    third = SoundImages(file)
    third.size_of(one, LIMITS)
    assert decoded == [one]  # it was not in the run before


def test_a_damaged_photograph_is_looked_at_again_each_time(
    tmp_path: Path, decoded: list[bytes]
) -> None:
    cut = jpeg(0)[:-200]
    for _ in range(2):
        images = SoundImages(tmp_path / "images.npz")
        with pytest.raises(ImageProblemError, match="cut short"):
            images.size_of(cut, LIMITS)
        images.keep()

    assert decoded == [cut, cut]


def test_a_known_photograph_must_keep_the_limits_of_today(tmp_path: Path) -> None:
    images = SoundImages(tmp_path / "images.npz")
    images.size_of(jpeg(0), LIMITS)
    images.keep()

    known = SoundImages(tmp_path / "images.npz")
    for limits in (ImageLimits(max_pixels=60 * 80 - 1), ImageLimits(max_bytes=100)):
        with pytest.raises(ImageProblemError):
            known.size_of(jpeg(0), limits)


@pytest.mark.parametrize("kind", ["text", "cut", "decoder", "shape", "pickle"])
def test_a_file_that_cannot_be_relied_on_counts_as_none(
    kind: str, tmp_path: Path, decoded: list[bytes]
) -> None:
    file, data = tmp_path / "images.npz", jpeg(0)
    images = SoundImages(file)
    images.size_of(data, LIMITS)
    images.keep()
    with np.load(file) as kept:
        arrays = dict(kept)
    if kind == "text":
        file.write_text("no archive")
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:-80])
    elif kind == "decoder":
        np.savez(file, **{**arrays, "decoder": np.array("Pillow 1.0")})
    elif kind == "shape":
        np.savez(file, **{**arrays, "sizes": arrays["sizes"][:, :1]})
    else:
        np.savez(file, **{**arrays, "sizes": np.array([{}], dtype=object)})
    decoded.clear()

    assert SoundImages(file).size_of(data, LIMITS) == (60, 80)
    assert decoded == [data]


def test_a_night_with_one_new_photograph_decodes_that_one_alone(
    tmp_path: Path, decoded: list[bytes]
) -> None:
    feed, cache = tmp_path / "feed", tmp_path / "cache"
    photographs = {f"p{number}": jpeg(7 * number) for number in range(12)}
    _feed(feed, photographs)
    _night(feed, tmp_path / "first", cache)
    assert len(decoded) == 2 * 12  # the import, and the validation of what lies on the disk
    decoded.clear()

    _feed(feed, {**photographs, "new": jpeg(200)})
    _night(feed, tmp_path / "second", cache)

    assert decoded == [jpeg_of(feed, "new")] * 2


def test_a_photograph_cut_short_after_the_import_is_found_by_validation(tmp_path: Path) -> None:
    _feed(tmp_path / "feed", {"p0": jpeg(0), "p1": jpeg(50)})
    cache, dataset = tmp_path / "cache", tmp_path / "dataset"
    _night(tmp_path / "feed", tmp_path / "night", cache)
    _feed(tmp_path / "feed", {"p0": jpeg(0), "p1": jpeg(50)[:-300]})

    with pytest.raises(DataContractError, match="rejected"):
        import_data(
            source=str(tmp_path / "feed"),
            out=dataset,
            settings=ImportConfig(max_rejects=0.1),
            cache=cache,
        )
    make_dataset(dataset, products=changed(3, image=jpeg(50)[:-300]))
    prepare(dataset=dataset, out=tmp_path / "prepared", settings=PrepareConfig())
    with pytest.raises(ValidationFailedError, match=r"image_decodes .*p3"):
        _validate(tmp_path, cache)


def _feed(folder: Path, photographs: dict[str, bytes]) -> None:
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    rows = ["product_id,title,image"]
    for name, data in photographs.items():
        (folder / "photos" / f"{name}.jpg").write_bytes(data)
        rows.append(f"{name},Title {name},photos/{name}.jpg")
    (folder / "products.csv").write_text("\n".join(rows) + "\n")
    (folder / "queries.csv").write_text("query_id,query,split\nq0,red,train\nq1,sofa,validation\n")
    (folder / "judgements.csv").write_text("query_id,product_id,grade\nq0,p0,1\nq1,p1,1\n")


def jpeg_of(feed: Path, name: str) -> bytes:
    return (feed / "photos" / f"{name}.jpg").read_bytes()


def _night(feed: Path, out: Path, cache: Path) -> None:
    import_data(source=str(feed), out=out / "imported", settings=ImportConfig(), cache=cache)
    prepare(dataset=out / "imported", out=out / "prepared", settings=PrepareConfig())
    _validate(out, cache)


def _validate(out: Path, cache: Path) -> None:
    validate_data(
        dataset=out / "prepared",
        out=out / "validation",
        settings=ValidationConfig(),
        previous=None,
        cache=cache,
    )
