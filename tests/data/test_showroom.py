import io
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from mmr import cli_showroom
from mmr.config.showroom import ShowroomConfig
from mmr.data import writer
from mmr.data.dataset import Dataset
from mmr.data.showroom import vocabulary
from mmr.data.showroom.products import ATTRIBUTES
from mmr.data.showroom.queries import make_queries
from mmr.data.showroom.render import render_products, write_showroom
from mmr.data.showroom.wording import normalise
from mmr.errors import ArtifactError
from mmr.stages.showroom import render_showroom

SMALL = ShowroomConfig(products=700, queries=150, seed=5, px=48)
GLUE = {"in", "by", "with", "a"}
PHRASES = {
    "without pattern": ("pattern", "plain"),
    "stripes": ("pattern", "striped"),
    "checks": ("pattern", "checked"),
    "dots": ("pattern", "dotted"),
    "flowers": ("pattern", "floral"),
    "zigzag pattern": ("pattern", "zigzag"),
    "geometric print": ("pattern", "geometric"),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("showroom") / "dataset"
    write_showroom(out, SMALL)
    return Dataset(out)


@pytest.fixture(scope="module")
def products(dataset: Dataset) -> pd.DataFrame:
    frame: pd.DataFrame = dataset.product_table().to_pandas()
    return frame.set_index("product_id")


def _phrasebook() -> dict[str, tuple[str, str]]:
    """Every word a query may use, and the attribute value that it names."""
    book = dict(PHRASES)
    for attribute, entries in (
        ("type", [kind.words for kind in vocabulary.TYPES]),
        ("colour", [colour.words for colour in vocabulary.COLOURS]),
        ("pattern", vocabulary.PATTERNS),
        ("material", vocabulary.MATERIALS),
        ("shape", vocabulary.SHAPES),
        ("size", [(size,) for kind in vocabulary.TYPES for size in kind.sizes]),
        ("brand", [(brand,) for brand, _ in vocabulary.BRANDS]),
        ("series", [(series,) for series, _ in vocabulary.SERIES]),
    ):
        for words in entries:
            book |= {word.lower(): (attribute, words[0]) for word in words}
    return book


def _read_query(query: str, book: dict[str, tuple[str, str]]) -> dict[str, str]:
    """What a query asks for, read from its words alone."""
    wanted = {}
    for phrase in sorted(book, key=len, reverse=True):
        rest = re.sub(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])", " ", query)
        if rest != query:
            attribute, value = book[phrase]
            assert attribute not in wanted, f"{query!r} names two values of {attribute}"
            wanted[attribute], query = value, rest
    assert set(query.split()) <= GLUE, f"{query!r} holds words that name nothing"
    return wanted


def _misses(products: pd.DataFrame, wanted: dict[str, str]) -> pd.Series:
    return sum((products[f"true_{name}"] != value).astype(int) for name, value in wanted.items())  # type: ignore[return-value]


def test_grades_say_exactly_what_the_words_of_the_query_ask_for(
    dataset: Dataset, products: pd.DataFrame
) -> None:
    judgements = dataset.judgements()
    book = _phrasebook()
    for row in dataset.queries().itertuples():
        wanted = _read_query(row.query, book)
        misses = _misses(products, wanted)
        judged = judgements[judgements["query_id"] == row.query_id].set_index("product_id")["grade"]
        full = set(judged.index[judged == 2])
        partial = set(judged.index[judged == 1])

        allowed = ~products["cold_start"] | (row.split != "train")
        right_type = allowed & (products["true_type"] == wanted["type"])
        assert full == set(products.index[allowed & (misses == 0)])
        assert partial <= set(products.index[right_type & (misses == 1)])
        assert full


def test_no_wording_stands_in_two_splits(dataset: Dataset) -> None:
    queries = dataset.queries()
    splits = queries.groupby(queries["query"].map(normalise))["split"].nunique()
    assert splits.max() == 1
    assert queries["query"].map(normalise).is_unique


def test_no_intent_stands_in_two_splits(dataset: Dataset) -> None:
    book = _phrasebook()
    splits: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for row in dataset.queries().itertuples():
        intent = tuple(sorted(_read_query(row.query, book).items()))
        splits.setdefault(intent, set()).add(row.split)
    assert {len(found) for found in splits.values()} == {1}


def test_cold_start_products_are_judged_but_never_in_train(
    dataset: Dataset, products: pd.DataFrame
) -> None:
    cold = set(products.index[products["cold_start"]])
    assert 0.04 < len(cold) / len(products) < 0.17
    assert not cold & set(dataset.judgements("train")["product_id"])
    assert cold & set(dataset.judgements("test")["product_id"])


def test_cold_start_takes_whole_groups(products: pd.DataFrame) -> None:
    groups = products.groupby(["true_series", "true_type"])["cold_start"]
    assert groups.nunique().max() == 1
    assert groups.size().max() > 1


def test_kinds_and_splits_come_in_the_stated_shares(dataset: Dataset) -> None:
    queries = dataset.queries()
    assert len(queries) == SMALL.queries
    assert Counter(queries["kind"]) == {"visual": 74, "textual": 38, "mixed": 38}
    shares = queries["split"].value_counts(normalize=True)
    assert shares["validation"] == pytest.approx(0.2, abs=0.01)
    assert shares["test"] == pytest.approx(0.2, abs=0.05)  # and train queries that had no product


def test_every_photograph_decodes_at_the_stated_size(dataset: Dataset) -> None:
    seen = 0
    for batch in dataset.product_batches(["image"]):
        for image in batch["image"].to_pylist():
            if image is not None:
                with Image.open(io.BytesIO(image["bytes"])) as opened:
                    opened.load()
                    assert (opened.size, opened.mode) == ((48, 48), "RGB")
                seen += 1
    assert seen == SMALL.products - dataset.manifest.products_without_image


def test_some_products_have_no_photograph(dataset: Dataset) -> None:
    share = dataset.manifest.products_without_image / SMALL.products
    assert 0.02 < share < 0.065  # stated: 0.04


def test_same_settings_give_the_same_dataset_on_any_number_of_processes(tmp_path: Path) -> None:
    settings = ShowroomConfig(products=230, queries=30, seed=3, px=32)
    one = write_showroom(tmp_path / "one", settings, workers=1)
    two = write_showroom(tmp_path / "two", settings, workers=2)
    other = write_showroom(tmp_path / "other", settings.model_copy(update={"seed": 4}), workers=1)

    assert one.content_hash == two.content_hash
    assert other.content_hash != one.content_hash


def test_a_product_does_not_depend_on_the_size_of_the_catalogue() -> None:
    few = list(render_products(ShowroomConfig(products=3, px=32), workers=1))
    many = list(islice(render_products(ShowroomConfig(products=99_999_999, px=32), workers=1), 3))
    assert few == many


def test_shards_are_written_while_products_are_still_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SHARD_ROWS", 20)
    shards_seen: list[int] = []
    render = render_products

    def watching(settings: ShowroomConfig, *, workers: int | None) -> object:
        for product in render(settings, workers=workers):
            shards_seen.append(len(list(tmp_path.rglob("part-*.parquet"))))
            yield product

    monkeypatch.setattr("mmr.data.showroom.render.render_products", watching)
    write_showroom(tmp_path / "out", ShowroomConfig(products=50, queries=5, px=32), workers=1)

    assert (shards_seen[0], shards_seen[25], shards_seen[49]) == (0, 1, 2)
    assert Dataset(tmp_path / "out").product_ids() == [f"sr{i:08d}" for i in range(50)]


def test_tiny_catalogue_still_yields_the_wanted_queries(tmp_path: Path) -> None:
    settings = ShowroomConfig(products=40, queries=20, px=32)
    report = render_showroom(out=tmp_path / "tiny", settings=settings)
    assert report.queries == 20
    assert set(Dataset(tmp_path / "tiny").queries()["split"]) == {"train", "validation", "test"}


def test_large_catalogue_keeps_the_judgements_of_a_query_bounded() -> None:
    rng = np.random.default_rng(0)
    sizes = {"type": 22, "colour": 14, "pattern": 7, "material": 3, "shape": 3}
    sizes |= {"brand": 16, "series": 48, "size": 3}
    codes = np.stack([rng.integers(0, sizes[name], 300_000) for name in ATTRIBUTES])
    settings = ShowroomConfig(products=300_000, queries=60)

    made = make_queries(codes.astype(np.uint8), np.zeros(300_000, bool), settings)

    grades = made.judgements.groupby("query_id")["grade"]
    assert len(made.queries) == 60
    assert grades.size().max() == settings.judgements_max
    assert grades.apply(lambda g: (g == 2).sum()).between(2, settings.relevant_max).all()


def test_catalogue_without_queries_is_possible(tmp_path: Path) -> None:
    manifest = write_showroom(tmp_path / "out", ShowroomConfig(products=5, queries=0, px=32))
    assert (manifest.queries, manifest.judgements) == (0, 0)
    assert Dataset(tmp_path / "out").judgements().empty


def test_existing_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ArtifactError, match="exists already"):
        render_showroom(out=tmp_path, settings=ShowroomConfig(products=2, queries=0, px=32))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_command_writes_a_dataset_and_says_what_is_in_it(tmp_path: Path) -> None:
    app = typer.Typer()
    cli_showroom.register(app)
    out = tmp_path / "dataset"
    arguments = ["--products", "30", "--queries", "6", "--px", "32", "--out", str(out)]

    result = CliRunner().invoke(app, [*arguments, "--set", "image_missing=1"])

    assert result.exit_code == 0, result.output
    assert "30 products (30 without image), 6 queries" in result.output
    assert Dataset(out).manifest.products_without_image == 30
