"""Titles and descriptions as sellers write them: short, incomplete, sometimes wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

from numpy.random import Generator

from mmr.config.showroom import ShowroomConfig
from mmr.data.showroom.products import Product, Stream, pick, stream
from mmr.data.showroom.vocabulary import (
    COLOURS,
    MATERIALS,
    PATTERNED_MATERIALS,
    PATTERNS,
    PLAIN,
    SHAPES,
)

_LOOKS = ("shape", "colour", "pattern", "material")  # in the order of a natural title
_EMPTY_TITLES = ("New arrival", "Item {number}", "Special offer", "Home article", "See photo")
_OPENINGS = (
    "A favourite for the {room}.",
    "Brings calm to any {room}.",
    "Part of our {season} collection for the {room}.",
    "This {type} suits the {room}.",
    "A {type} made for everyday life.",
    "Designed to last, easy to care for.",
    "A small change that makes the {room} feel new.",
)
_SEASONS = ("spring", "summer", "autumn", "winter")
_CLOSINGS = (
    "Delivered within five working days.",
    "Easy to assemble.",
    "Wipe clean with a damp cloth.",
    "Goes well with the other pieces of the series.",
    "Two years of warranty.",
    "",
)
_TRANSLATED_FILLERS = (
    "Nordic ins wind household", "new year section", "the house of family use",
    "high class feeling", "hot sell quality good", "simple modern net celebrity",
)  # fmt: skip
_TRANSLATED_SENTENCES = (
    "Dear, this {literal} let the {room} have warm feeling.",
    "The {literal} of quality excellent, please rest assured to shoot.",
    "Is the {literal} what make home more high grade.",
    "Because light and screen, the picture have little difference of object.",
)
_SENTENCES = {
    "shape": ("Form: {word}.", "The {word} form fits in anywhere.", "A {word} model."),
    "colour": ("Colour: {word}.", "Finished in {word}.", "Comes in {word}."),
    "pattern": ("Pattern: {word}.", "The look is {word}.", "A {word} design."),
    "material": ("Material: {word}.", "A {word} piece.", "Main part: {word}."),
}


@dataclass(frozen=True)
class SellerText:
    """What the seller wrote about one product."""

    title: str
    description: str


def write_text(product: Product, settings: ShowroomConfig) -> SellerText:
    """Writes a product's title and description with the noise that the settings state."""
    rng = stream(settings.seed, product.number, Stream.TEXT)
    stated = _stated_words(product, settings, rng)
    naming = rng.random()  # one draw: a title lacks the name or the type, never both
    named, typed = naming >= settings.brand_withheld, naming < 1 - settings.type_withheld
    size = product.size_label if rng.random() >= settings.size_withheld else ""
    translated = rng.random() < settings.translated
    type_word = product.kind.literal if translated else _type_word(product, rng)

    # One draw decides both, so that a fact told is never lost in a short title without description.
    extent = rng.random()
    short = extent < settings.title_short
    silent = extent >= 1 - settings.description_missing
    in_title = {key for key in stated if not short and (silent or rng.random() < 0.55)}
    size_in_title = bool(size) and not short and (silent or rng.random() < 0.4)

    name = _name(product, short=short, rng=rng) if named else ""
    looks = [stated[key] for key in _LOOKS if key in in_title]
    title = _title(
        name, looks, type_word if typed else "", size if size_in_title else "", short=short, rng=rng
    )
    if translated:
        title = _translate(title, rng)
    if rng.random() < settings.typo:
        title = _misspell(title, rng)
    facts = [(key, word) for key, word in stated.items() if key not in in_title]
    description = (
        ""
        if silent
        else _description(product, facts, "" if size_in_title else size, translated, rng)
    )
    if rng.random() < settings.title_uninformative:
        number = int(rng.integers(1000, 9999))
        title, description = pick(rng, _EMPTY_TITLES).format(number=number), ""
    return SellerText(_tidy(title), _tidy(description))


def _stated_words(product: Product, settings: ShowroomConfig, rng: Generator) -> dict[str, str]:
    """The looks that the seller mentions anywhere, and the word for each."""
    colour = product.colour
    if rng.random() < settings.colour_wrong:
        colour = (colour + 1 + int(rng.integers(len(COLOURS) - 1))) % len(COLOURS)
    words = {
        "shape": (SHAPES[product.shape], settings.shape_withheld),
        "colour": (COLOURS[colour].words, settings.colour_withheld),
        "pattern": (PATTERNS[product.pattern], _pattern_withheld(product, settings)),
        "material": (MATERIALS[product.material], settings.material_withheld),
    }
    return {
        key: _usual_word(choices, rng)
        for key, (choices, withheld) in words.items()
        if rng.random() >= withheld
    }


def _pattern_withheld(product: Product, settings: ShowroomConfig) -> float:
    """Sellers name a pattern; that there is none they seldom say, and of a plain desk never."""
    if product.pattern != PLAIN:
        return settings.pattern_withheld
    could_be_patterned = MATERIALS[product.material][0] in PATTERNED_MATERIALS
    return 0.8 if could_be_patterned else 1.0


def _usual_word(words: tuple[str, ...], rng: Generator) -> str:
    """Mostly the first word; now and then a synonym."""
    return words[0] if rng.random() < 0.6 else pick(rng, words)


def _type_word(product: Product, rng: Generator) -> str:
    return _usual_word(product.kind.words, rng)


def _name(product: Product, *, short: bool, rng: Generator) -> str:
    brand, series = product.brand_name, product.series_name
    if short:
        return pick(rng, (brand, series))
    return pick(rng, (f"{brand} {series}", f"{brand.upper()} {series}", f"{series} by {brand}"))


def _title(
    name: str, looks: list[str], type_word: str, size: str, *, short: bool, rng: Generator
) -> str:
    form = int(rng.integers(3))
    if short:
        return f"{name} {type_word}"
    if form == 0:
        return " ".join([name, *looks, type_word, size])
    if form == 1:
        return " ".join([*looks, type_word, name, size])
    return ", ".join(filter(None, [f"{name} {type_word}".strip(), *looks, size]))


def _description(
    product: Product, facts: list[tuple[str, str]], size: str, translated: bool, rng: Generator
) -> str:
    room, season = pick(rng, product.kind.rooms), pick(rng, _SEASONS)
    if translated:
        opening = pick(rng, _TRANSLATED_SENTENCES).format(literal=product.kind.literal, room=room)
    else:
        opening = pick(rng, _OPENINGS).format(room=room, season=season, type=product.kind.name)
    told = [pick(rng, _SENTENCES[key]).format(word=word) for key, word in facts]
    measure = f"Size: {size}." if size else ""
    text = " ".join([opening, *told, measure, pick(rng, _CLOSINGS)])
    return re.sub(r"\bA (?=[aeiou])", "An ", text)


def _translate(title: str, rng: Generator) -> str:
    """Turns the order of words around and adds what translation machines like to add."""
    words = title.replace(",", "").split()
    turn = int(rng.integers(len(words))) if words else 0
    return " ".join([*words[turn:], pick(rng, _TRANSLATED_FILLERS), *words[:turn]])


def _misspell(title: str, rng: Generator) -> str:
    """Drops, doubles or swaps a letter of one word."""
    long_words = list(re.finditer(r"[A-Za-z]{5,}", title))
    if not long_words:
        return title
    found = pick(rng, long_words)
    word, spot = found[0], int(rng.integers(1, len(found[0]) - 2))
    dropped = word[:spot] + word[spot + 1 :]
    doubled = word[:spot] + word[spot] + word[spot:]
    swapped = word[:spot] + word[spot + 1] + word[spot] + word[spot + 2 :]
    wrong = pick(rng, [garbled for garbled in (dropped, doubled, swapped) if garbled != word])
    return title[: found.start()] + wrong + title[found.end() :]


def _tidy(text: str) -> str:
    line = " ".join(text.split())
    return line[:1].upper() + line[1:]
