import re
from collections.abc import Callable, Iterable

import pytest

from mmr.config.showroom import ShowroomConfig, parse_showroom_source
from mmr.data.showroom import vocabulary
from mmr.data.showroom.products import Product, sample_product
from mmr.data.showroom.text import SellerText, write_text
from mmr.errors import ConfigError

COUNT = 4000
# Garbled words and translated types hide what this test counts: they have tests of their own.
READABLE = ShowroomConfig(seed=2, typo=0, translated=0, title_uninformative=0)


@pytest.fixture(scope="module")
def texts() -> list[tuple[Product, SellerText]]:
    products = [sample_product(2, number) for number in range(COUNT)]
    return [(product, write_text(product, READABLE)) for product in products]


def _names_any(text: str, words: Iterable[str]) -> bool:
    return any(re.search(rf"(?<![\w-]){re.escape(w)}(?![\w-])", text, re.IGNORECASE) for w in words)


def _all_words(entries: Iterable[tuple[str, ...]]) -> list[str]:
    return [word for words in entries for word in words]


COLOUR_WORDS = _all_words(colour.words for colour in vocabulary.COLOURS)
PATTERN_WORDS = _all_words(vocabulary.PATTERNS[1:])


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return sum(found) / len(found)


def _whole(text: SellerText) -> str:
    return f"{text.title} {text.description}"


@pytest.mark.parametrize(
    ("setting", "withholds"),
    [
        ("colour_withheld", lambda p, t: not _names_any(_whole(t), COLOUR_WORDS)),
        (
            "material_withheld",
            lambda p, t: (
                not _names_any(
                    # "looking glass" is a mirror, not a material
                    _whole(t).lower().replace("looking glass", ""),
                    vocabulary.MATERIALS[p.material],
                )
            ),
        ),
        ("size_withheld", lambda p, t: p.size_label not in _whole(t)),
        (
            "brand_withheld",
            lambda p, t: not _names_any(t.title, (p.brand_name, p.series_name)),
        ),
        ("type_withheld", lambda p, t: not _names_any(t.title, p.kind.words)),
        ("description_missing", lambda p, t: t.description == ""),
    ],
)
def test_sellers_withhold_at_the_stated_rate(
    texts: list[tuple[Product, SellerText]],
    setting: str,
    withholds: Callable[[Product, SellerText], bool],
) -> None:
    share = _share(withholds(product, text) for product, text in texts)
    assert share == pytest.approx(getattr(READABLE, setting), abs=0.03)  # 4 standard errors


def test_patterns_are_withheld_at_the_stated_rate(texts: list[tuple[Product, SellerText]]) -> None:
    patterned = [(p, t) for p, t in texts if p.pattern != vocabulary.PLAIN]
    share = _share(not _names_any(_whole(t), PATTERN_WORDS) for _, t in patterned)
    assert share == pytest.approx(READABLE.pattern_withheld, abs=0.06)
    assert not any(
        _names_any(_whole(t), PATTERN_WORDS) for p, t in texts if p.pattern == vocabulary.PLAIN
    )


def test_stated_colours_are_wrong_at_the_stated_rate(
    texts: list[tuple[Product, SellerText]],
) -> None:
    stating = [(p, t) for p, t in texts if _names_any(_whole(t), COLOUR_WORDS)]
    wrong = _share(
        not _names_any(_whole(t), vocabulary.COLOURS[p.colour].words) for p, t in stating
    )
    assert wrong == pytest.approx(READABLE.colour_wrong, abs=0.025)


def test_no_title_is_empty(texts: list[tuple[Product, SellerText]]) -> None:
    noisy = ShowroomConfig(seed=2, brand_withheld=0.5, type_withheld=0.5, title_short=0.8)
    assert all(text.title for _, text in texts)
    assert all(write_text(product, noisy).title for product, _ in texts)


def test_short_titles_tell_no_looks() -> None:
    settings = READABLE.model_copy(update={"title_short": 1.0, "description_missing": 0.0})
    for number in range(200):
        product = sample_product(2, number)
        title = write_text(product, settings).title
        assert not _names_any(title, [*COLOUR_WORDS, *PATTERN_WORDS])
        assert product.size_label not in title


def test_machine_translated_text_uses_the_literal_word_in_the_description() -> None:
    settings = READABLE.model_copy(update={"translated": 0.5, "description_missing": 0.0})
    told = [(p := sample_product(3, n), write_text(p, settings)) for n in range(600)]
    share = _share(product.kind.literal in text.description for product, text in told)
    assert 0.3 < share < 0.5  # one translated opening of four does not name the thing


def test_typos_and_empty_titles_change_what_they_should() -> None:
    for number in range(100):
        product = sample_product(4, number)
        clean = write_text(product, READABLE)
        typo = write_text(product, READABLE.model_copy(update={"typo": 1.0}))
        empty = write_text(product, READABLE.model_copy(update={"title_uninformative": 1.0}))
        assert typo.title != clean.title or not re.search(r"[a-zA-Z]{5}", clean.title)
        assert not _names_any(empty.title, [*product.kind.words, product.brand_name])
        assert empty.description == ""


def test_no_word_belongs_to_two_values_of_an_attribute() -> None:
    for entries in (
        [kind.words for kind in vocabulary.TYPES],
        [colour.words for colour in vocabulary.COLOURS],
        vocabulary.PATTERNS,
        vocabulary.MATERIALS,
        vocabulary.SHAPES,
    ):
        words = _all_words(entries)
        assert len(words) == len(set(words))


def test_vocabulary_is_as_rich_as_promised() -> None:
    assert len(vocabulary.TYPES) >= 14
    assert len(vocabulary.COLOURS) == 14
    assert len(vocabulary.PATTERNS) == 7


def test_source_text_gives_settings() -> None:
    parsed = parse_showroom_source("showroom:products=3000, queries=400,seed=7")
    assert parsed == ShowroomConfig(products=3000, queries=400, seed=7)
    assert parse_showroom_source("showroom") == ShowroomConfig()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("showroom:product=3", "Unknown showroom setting product"),
        ("showroom:products=many", "products='many'"),
        ("showroom:products=0", "greater than or equal to 1"),
        ("showroom:products", "key=value"),
        ("showroom:seed=1,seed=2", "stands twice"),
        ("showrooms:seed=1", "not a showroom source"),
        ("showroom:title_short=0.9,description_missing=0.2", "add up to 1.1"),
    ],
)
def test_bad_source_text_is_refused_with_its_fault(source: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        parse_showroom_source(source)
