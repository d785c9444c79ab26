from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.errors import ServingError
from mmr.release.query_words import normalise_query
from serving.live.query_text import QueryRecorder, read_salt
from serving.live.settings import QueryText


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("  White\tWARDROBE \n", "white wardrobe"),
        ("Ｗｅｉß", "weiss"),
        ("sofa for ann@example.com", "sofa for <address>"),
        ("call +49 (170) 123-4567 now", "call <number> now"),
        ("card 4111 1111 1111 1111", "card <number>"),
        ("shelf 80 x 200 cm", "shelf 80 x 200 cm"),
        ("box 120 60 75", "box 120 60 75"),
        ("ab\u202ecd\u0000ef", "ab cd ef"),
        ("خزانة بيضاء", "خزانة بيضاء"),
    ],
)
def test_query_is_normalised_and_what_names_a_person_is_masked(text: str, normalised: str) -> None:
    assert normalise_query(text) == normalised


@given(st.text(max_size=400))
def test_normalised_query_is_short_printable_and_settled(text: str) -> None:
    once = normalise_query(text)

    assert len(once) <= 200
    assert once.replace(" ", "").isprintable()
    assert "@" not in once


def test_hash_hides_the_text_and_keeps_equal_queries_equal(tmp_path: Path) -> None:
    salt = read_salt(tmp_path)
    recorder = QueryRecorder(QueryText.HASH, salt)

    field = recorder.field("White  Wardrobe")
    assert field == recorder.field("white wardrobe")
    assert field != recorder.field("white table")
    assert set(field) == {"query_hash"}
    assert len(field["query_hash"]) == 32
    assert field != QueryRecorder(QueryText.HASH, b"another salt").field("white wardrobe")


def test_salt_is_drawn_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = read_salt(tmp_path / "log")

    assert read_salt(tmp_path / "log") == first
    assert read_salt(tmp_path / "other") != first
    assert (tmp_path / "log/salt").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "log").iterdir()] == ["salt"]


def test_damaged_salt_is_named(tmp_path: Path) -> None:
    (tmp_path / "salt").write_bytes(b"short")

    with pytest.raises(ServingError, match="salt is damaged"):
        read_salt(tmp_path)
