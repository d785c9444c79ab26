"""Validation: what fails is named with its rows, and only errors stop."""

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from mmr.config.data import ValidationConfig
from mmr.data.validation import ValidationReport
from mmr.data.writer import new_dataset
from mmr.errors import ArtifactError, ConfigError, ValidationFailedError
from mmr.stages.validate_data import validate_data


def jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


PICTURE = jpeg()
PRODUCTS = [
    {"product_id": f"p{i}", "title": f"Title {i}", "description": "", "image": PICTURE}
    for i in range(6)
]
QUERIES = [("q0", "red sofa", "train"), ("q1", "chair", "validation"), ("q2", "bed", "test")]
JUDGEMENTS = [("q0", "p0", 2), ("q1", "p1", 1), ("q2", "p2", 1)]


def make_dataset(
    path: Path,
    *,
    products: list[dict[str, Any]] = PRODUCTS,
    queries: list[tuple[str | None, str, str]] = QUERIES,
    judgements: list[tuple[str, str, int]] = JUDGEMENTS,
) -> Path:
    with new_dataset(path, attributes={"cold_start": pa.bool_()}) as writer:
        for product in products:
            data = product["image"]
            image = {"bytes": data, "path": None} if data is not None else None
            writer.add_products([{"cold_start": False, **product, "image": image}])
        frame = pd.DataFrame(queries, columns=["query_id", "query", "split"])
        writer.set_queries(frame.assign(kind="all"))
        writer.set_judgements(pd.DataFrame(judgements, columns=["query_id", "product_id", "grade"]))
        writer.finish(name="made", prepared=None)
    return path


def changed(number: int, **values: Any) -> list[dict[str, Any]]:
    return [{**p, **values} if i == number else p for i, p in enumerate(PRODUCTS)]


def validate(dataset: Path, *, previous: Path | None = None, **settings: Any) -> ValidationReport:
    return validate_data(
        dataset=dataset,
        out=dataset.parent / "report",
        settings=ValidationConfig(**settings),
        previous=previous,
    )


def written(dataset: Path) -> dict[str, dict[str, Any]]:
    report = json.loads((dataset.parent / "report" / "validation.json").read_text())
    return {entry["name"]: entry for entry in report["expectations"]}


def test_a_good_dataset_passes_and_leaves_a_report(tmp_path: Path) -> None:
    report = validate(make_dataset(tmp_path / "data"))

    assert (report.errors, report.warnings) == ([], [])
    assert report.as_metrics()["expectations"] == len(written(tmp_path / "data")) >= 20
    assert "<html" in (tmp_path / "report" / "data_docs" / "index.html").read_text()
    pages = list((tmp_path / "report" / "data_docs" / "validations").rglob("*.html"))
    assert len(pages) == 4  # product, query, judgement, dataset


@pytest.mark.parametrize(
    ("name", "parts", "row"),
    [
        ("product_id_unique", {"products": changed(3, product_id="p2")}, {"product_id": "p2"}),
        ("product_id_present", {"products": changed(3, product_id="")}, {"product_id": None}),
        ("image_decodes", {"products": changed(4, image=PICTURE[:400])}, {"product_id": "p4"}),
        ("image_decodes", {"products": changed(4, image=b"")}, {"product_id": "p4"}),
        ("image_max_size", {"products": changed(1, image=jpeg((300, 9)))}, {"product_id": "p1"}),
        ("query_id_unique", {"queries": [*QUERIES, ("q1", "oak", "test")]}, {"query_id": "q1"}),
        ("query_id_present", {"queries": [*QUERIES, (None, "oak", "test")]}, {"query_id": None}),
        ("query_present", {"queries": [*QUERIES, ("q3", " ", "test")]}, {"query_id": "q3"}),
        ("split_known", {"queries": [*QUERIES, ("q3", "oak", "")]}, {"query_id": "q3"}),
        (
            "no_query_in_two_splits",
            {"queries": [*QUERIES, ("q3", " RED  sofa", "validation")]},
            {"query_id": "q3"},
        ),
        (
            "judged_product_known",
            {"judgements": [*JUDGEMENTS, ("q0", "p9", 1)]},
            {"query_id": "q0", "product_id": "p9"},
        ),
        (
            "judged_query_known",
            {"judgements": [*JUDGEMENTS, ("q9", "p0", 1)]},
            {"query_id": "q9", "product_id": "p0"},
        ),
        (
            "grade_range",
            {"judgements": [*JUDGEMENTS, ("q0", "p3", 99)]},
            {"query_id": "q0", "product_id": "p3"},
        ),
        (
            "judged_once",
            {"judgements": [*JUDGEMENTS, ("q0", "p0", 1)]},
            {"query_id": "q0", "product_id": "p0"},
        ),
        (
            "cold_start_kept_out",
            {"products": changed(0, cold_start=True)},
            {"query_id": "q0", "product_id": "p0"},
        ),
        ("train_judged", {"judgements": JUDGEMENTS[1:]}, None),
        ("validation_judged", {"judgements": [*JUDGEMENTS[:1], ("q1", "p1", 0)]}, None),
        ("catalogue_not_empty", {"products": [], "judgements": []}, None),
    ],
)
def test_an_error_stops_and_names_the_rows(
    tmp_path: Path, name: str, parts: dict[str, Any], row: dict[str, Any] | None
) -> None:
    dataset = make_dataset(tmp_path / "data", **parts)

    with pytest.raises(ValidationFailedError) as caught:
        validate(dataset, max_image_px=200)

    entry = written(dataset)[name]
    assert (entry["success"], entry["severity"]) == (False, "error")
    message = str(caught.value)
    assert f"{name} (" in message
    assert "validation.json" in message
    if row is not None:
        named = [{key: found[key] for key in row} for found in entry["rows"]]
        assert row in named
        assert entry["unexpected"] == len(named)
        assert "/".join(str(value) for value in row.values()) in message


def test_a_dataset_without_judgements_is_an_error_that_tells_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailedError, match="--judgements FILE"):
        validate(make_dataset(tmp_path / "data", queries=[], judgements=[]))


@pytest.mark.parametrize(
    ("name", "products", "settings"),
    [
        ("products_with_image", changed(0, image=None), {"max_share_without_image": 0.1}),
        ("products_with_text", changed(0, title=""), {"max_share_without_text": 0.1}),
        ("title_length", changed(0, title="x"), {}),
        ("text_length", changed(0, description="x" * 50), {"max_text_chars": 40}),
        ("image_min_size", changed(0, image=jpeg((90, 20))), {}),
    ],
)
def test_a_warning_is_reported_and_nothing_stops(
    tmp_path: Path, name: str, products: list[dict[str, Any]], settings: dict[str, Any]
) -> None:
    report = validate(make_dataset(tmp_path / "data", products=products), **settings)

    assert [result.check.name for result in report.warnings] == [name]
    assert report.warnings[0].rows[0]["product_id"] == "p0"


def test_severity_is_a_setting(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", products=changed(0, title="x"))
    bad = make_dataset(tmp_path / "bad", queries=[*QUERIES, ("q1", "oak", "test")])

    with pytest.raises(ValidationFailedError, match="title_length"):
        validate(dataset, severity={"title_length": "error"})
    assert validate(bad, severity={"query_id_unique": "warning"}).warnings
    with pytest.raises(ConfigError, match="'title_lenght', which does not exist"):
        validate(dataset, severity={"title_lenght": "error"})


def test_twenty_rows_are_named_and_all_are_counted(tmp_path: Path) -> None:
    products = [{**PRODUCTS[0], "product_id": f"p{i}", "title": "x"} for i in range(30)]

    report = validate(make_dataset(tmp_path / "data", products=products))

    assert (report.warnings[0].unexpected, len(report.warnings[0].rows)) == (30, 20)


def test_drift_against_the_previous_dataset_is_reported(tmp_path: Path) -> None:
    before = make_dataset(tmp_path / "before")
    products = [{**PRODUCTS[0], "title": "", "description": "A text of another length" * 3}]
    products += [{**PRODUCTS[1], "image": None}]
    now = make_dataset(tmp_path / "now", products=products, judgements=JUDGEMENTS[:2])

    same = validate(before, previous=before)
    report = validate(now, previous=before)

    assert same.warnings == []
    found = {result.check.name: result.observed for result in report.warnings}
    assert found["row_ratio_products"] == pytest.approx(2 / 6)
    assert found["null_share_increase_title"] == pytest.approx(0.5)
    assert found["image_coverage_drop"] == pytest.approx(0.5)
    assert found["text_length_change"] == pytest.approx((72 + 7) / 2 / 7 - 1)
    assert "row_ratio_queries" not in found
    with pytest.raises(ValidationFailedError, match=r"found 0\.333333"):
        validate(now, previous=before, severity={"row_ratio_products": "error"})


def test_a_report_is_replaced_but_nothing_else(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data")
    validate(dataset)
    validate(dataset)

    with pytest.raises(ArtifactError, match=r"has no validation\.json"):
        validate_data(dataset=dataset, out=dataset, settings=ValidationConfig(), previous=None)
