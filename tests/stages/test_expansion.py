"""Document expansion through the stages: trained without a query's own words, embedded with all."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from mmr import stages
from mmr.cli import build_app
from mmr.config.model import FusionKind
from mmr.config.run import RunSettings
from mmr.data.dataset import Dataset
from mmr.data.expansion import asked_words, expanded_title
from mmr.data.writer import new_dataset
from mmr.models.storage import load_retriever, save_retriever
from mmr.release.fingerprint import encoder_fingerprint
from mmr.stages.embedding import embed_products
from mmr.stages.image_towers import ImageStageData
from mmr.stages.training_data import (
    open_catalogue,
    open_judged,
    product_texts,
    shown_texts,
    words_for,
)
from tests.stages.refreshed_shop import NEW, Feed, Shop, open_shop

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def expanding(tiny_settings: RunSettings) -> RunSettings:
    text = tiny_settings.model.text.model_copy(update={"expansion": True})
    model = tiny_settings.model.model_copy(update={"text": text})
    return tiny_settings.model_copy(update={"model": model})


@pytest.fixture(scope="module")
def text_only(
    tiny_dataset: Path, expanding: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("expanding")
    out = root / "text"
    settings = expanding.text_only_stage
    stages.train_text_only(dataset=tiny_dataset, out=out, settings=settings, cache=root / "cache")
    return out


@pytest.fixture(scope="module")
def shop(
    tiny_dataset: Path, expanding: RunSettings, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    return open_shop(tmp_path_factory.mktemp("refresh"), tiny_dataset, expanding)


def with_queries(source: Path, out: Path, queries: pd.DataFrame) -> Path:
    """The same shop, its queries in other words."""
    data = Dataset(source)
    with new_dataset(out, attributes={}) as writer:
        for batch in data.product_batches(["product_id", "title", "description", "image"]):
            writer.add_products(batch.to_pylist())
        writer.set_queries(queries)
        writer.set_judgements(data.judgements())
        writer.finish(name="shop", prepared=None)
    return out


def spoken(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_no_training_query_is_shown_a_text_with_its_own_words(
    tiny_dataset: Path, expanding: RunSettings, tmp_path: Path
) -> None:
    queries = Dataset(tiny_dataset).queries()
    queries["query"] += [f" only{row}" for row in range(len(queries))]
    dataset = Dataset(with_queries(tiny_dataset, tmp_path / "dataset", queries))
    text = expanding.model.text
    catalogue = open_catalogue(dataset, vision=None, cache=tmp_path, words=words_for(text, dataset))
    judged = open_judged(dataset, "train")
    shown = shown_texts(text, dataset, catalogue, judged, folds=4, seed=3)

    assert shown.folds is not None
    assert shown.places is not None
    told = 0
    for row, query in enumerate(judged.queries):
        own = query.split()[-1]
        told += sum(own in spoken(full) for full in catalogue.texts)
        places = shown.places[shown.folds[row]]
        assert not any(own in spoken(shown.texts[place]) for place in places)
        for others in np.delete(shown.places, shown.folds[row], axis=0):
            assert [own in spoken(shown.texts[place]) for place in others] == [
                own in spoken(full) for full in catalogue.texts
            ]
    assert told > len(judged)  # or there would have been nothing to hide


def test_stages_that_learn_from_queries_read_texts_by_fold_of_as_many_as_their_batches_ask_for(
    tiny_dataset: Path, expanding: RunSettings, text_only: Path, tmp_path: Path
) -> None:
    stage = expanding.align
    batch = stage.batch.model_copy(update={"folds": 3})
    settings = expanding.model_copy(
        update={"align": stage.model_copy(update={"batch": batch})}
    ).align_stage
    stages.finetune_vision(
        dataset=tiny_dataset,
        text_only=text_only,
        out=tmp_path / "vision",
        settings=expanding.vision_stage,
        cache=tmp_path / "cache",
    )
    retriever = load_retriever(tmp_path / "vision")
    data = ImageStageData.open(
        Dataset(tiny_dataset), retriever, cache=tmp_path / "cache", settings=settings
    )

    folds, text = data.inputs.folds, data.inputs.text
    assert folds is not None
    assert set(folds) == {0, 1, 2}
    rows = np.arange(len(data.catalogue), dtype=np.int64)
    full, first, second = (text.products(rows, fold=fold) for fold in (None, 0, 1))
    assert not bool((first == second).all())
    assert bool((full == data.product_features).all())


def test_products_are_embedded_as_if_their_titles_said_what_was_asked(
    tiny_dataset: Path, text_only: Path, tmp_path: Path
) -> None:
    data = Dataset(tiny_dataset)
    words = asked_words(data)

    def retitled(product: dict[str, object]) -> dict[str, object]:
        said = words.get(str(product["product_id"]), ())
        return {**product, "title": expanded_title(str(product["title"] or ""), said)}

    feed = Feed(retitled, with_queries=False).write(tiny_dataset, tmp_path / "feed")
    expanded = embed_products(text_only, data, cache=tmp_path / "cache")
    written = embed_products(text_only, Dataset(feed), cache=tmp_path / "cache")

    assert words
    assert expanded.words == words
    np.testing.assert_allclose(expanded.vectors, written.vectors, atol=1e-5)
    np.testing.assert_array_equal(expanded.has_text, written.has_text)


def test_words_that_are_given_are_embedded_in_place_of_those_of_the_dataset(
    tiny_dataset: Path, text_only: Path, tmp_path: Path
) -> None:
    data = Dataset(tiny_dataset)
    first = data.product_ids()[0]

    own = embed_products(text_only, data, cache=tmp_path)
    given = embed_products(text_only, data, cache=tmp_path, words={first: ("blue", "vase")})
    again = embed_products(text_only, data, cache=tmp_path)

    assert not np.array_equal(own.vectors, given.vectors)
    np.testing.assert_array_equal(own.vectors, again.vectors)


def test_the_same_weights_without_expansion_read_no_words_and_have_another_fingerprint(
    tiny_dataset: Path, tiny_settings: RunSettings, text_only: Path, tmp_path: Path
) -> None:
    plain, same = tmp_path / "plain", tmp_path / "same"
    retriever = load_retriever(text_only)
    for directory in (same, plain):
        directory.mkdir()
        save_retriever(retriever, directory, training={})
        retriever.settings = tiny_settings.model

    data = Dataset(tiny_dataset)
    assert encoder_fingerprint(same) == encoder_fingerprint(text_only)
    assert encoder_fingerprint(plain) != encoder_fingerprint(text_only)
    assert embed_products(same, data, cache=tmp_path / "cache").words == asked_words(data)
    assert embed_products(plain, data, cache=tmp_path / "cache").words is None


def test_tokens_for_cross_attention_are_of_what_the_shop_wrote(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    data = Dataset(tiny_dataset)

    catalogue = open_catalogue(data, vision=None, cache=tmp_path, words=asked_words(data))

    assert catalogue.own_texts == product_texts(data)
    assert catalogue.texts != catalogue.own_texts


def products(directory: Path, *columns: str) -> dict[str, tuple[object, ...]]:
    table = pq.read_table(directory / "products.parquet")
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return dict(zip(table["product_id"].to_pylist(), rows, strict=True))


def test_index_tells_the_words_that_each_vector_is_made_of(shop: Shop, tiny_dataset: Path) -> None:
    words = asked_words(Dataset(tiny_dataset))

    told = products(shop.champion / "index", "expansion")

    assert told == {name: (" ".join(words.get(name, ())),) for name in told}


def test_refresh_embeds_products_whose_words_changed_and_no_others(
    shop: Shop, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = Dataset(tiny_dataset)
    queries = data.queries()
    asked = queries.index[queries["split"] == "train"][0]
    before = asked_words(data)
    queries.loc[asked, "query"] += " upholstered"
    feed = with_queries(tiny_dataset, tmp_path / "feed", queries)
    after = asked_words(Dataset(feed))
    differ = {name for name in after if before.get(name) != after[name]}

    report = shop.refresh(feed, tmp_path)

    assert 0 < len(differ) < len(data)
    assert (report.new, report.changed, report.embedded) == (0, len(differ), len(differ))
    stages.embed_catalogue(
        dataset=feed, model=tmp_path / "model", out=tmp_path / "all", cache=tmp_path / "cache"
    )
    merged, whole = (np.load(tmp_path / name / "vectors.npy") for name in ("vectors", "all"))
    np.testing.assert_allclose((merged * whole).sum(axis=1), 1, atol=1e-3)
    columns = ("title", "content", "expansion")
    assert products(tmp_path / "vectors", *columns) == products(tmp_path / "all", *columns)


def test_feed_of_products_alone_keeps_the_words_that_the_champion_has(
    shop: Shop, tiny_dataset: Path, tmp_path: Path
) -> None:
    feed = Feed(added=(NEW,), with_queries=False).write(tiny_dataset, tmp_path / "feed")

    report = shop.refresh(feed, tmp_path)

    assert (report.new, report.changed, report.embedded) == (1, 0, 1)
    told = products(tmp_path / "vectors", "expansion")
    assert told.pop(str(NEW["product_id"])) == ("",)
    assert told == products(shop.champion / "index", "expansion")


def test_explanation_names_the_words_that_follow_the_title(
    shop: Shop, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = Dataset(tiny_dataset)
    words = asked_words(data)
    titles = dict(
        zip(
            data.product_ids(),
            data.product_table(["title"])["title"].to_pylist(),
            strict=True,
        )
    )
    name = next(n for n in words if expanded_title(titles[n] or "", words[n]) != titles[n])

    found = stages.explain(
        product_id=name,
        model=shop.champion / "product_encoder",
        dataset=tiny_dataset,
        cache=tmp_path,
    )
    printed = CliRunner().invoke(
        build_app(),
        [
            *("explain", name, "--dataset", str(tiny_dataset)),
            *("--model", str(shop.champion / "product_encoder")),
            *("--workspace", str(shop.workspace.path)),
        ],
    )

    said = " ".join(found.expansion)
    assert expanded_title(titles[name] or "", words[name]) == f"{titles[name] or ''} {said}".strip()
    assert found.fusion == FusionKind.BILINEAR_EXPERTS.value
    assert f"what was asked for: {said}" in " ".join(printed.output.split())
