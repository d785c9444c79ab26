import numpy as np
import pytest

from serving.models.requests import (
    DEFAULT_K,
    MAX_K,
    MAX_TEXT_BYTES,
    MAX_TEXT_CHARACTERS,
    RequestError,
    read_k,
    read_texts,
)


def texts(*raw: bytes) -> np.ndarray:
    return np.array(raw, dtype=np.object_).reshape(-1, 1)


def test_any_script_is_a_query() -> None:
    queries = ["weißer Schrank", "خزانة بيضاء", "🛋️", "<script>alert(1)</script>", "a'; DROP--"]

    assert read_texts(texts(*(query.encode() for query in queries))) == queries


@pytest.mark.parametrize("raw", [b"", b"   ", b"\n\t"])
def test_empty_text_is_refused_by_row(raw: bytes) -> None:
    with pytest.raises(RequestError, match="TEXT row 1 is empty"):
        read_texts(texts(b"lamp", raw))


def test_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(RequestError, match="TEXT row 0 is not UTF-8"):
        read_texts(texts(b"lamp \xff"))


def test_missing_text_is_refused() -> None:
    with pytest.raises(RequestError, match="TEXT is missing"):
        read_texts(None)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(RequestError, match=r"TEXT must have shape \[rows, 1\]"):
        read_texts(np.array([[b"a", b"b"]], dtype=np.object_))


def test_long_text_is_cut_and_a_huge_one_refused() -> None:
    assert read_texts(texts(b"x" * MAX_TEXT_BYTES)) == ["x" * MAX_TEXT_CHARACTERS]
    with pytest.raises(RequestError, match=f"at most {MAX_TEXT_BYTES}"):
        read_texts(texts(b"x" * (MAX_TEXT_BYTES + 1)))


def test_k_has_a_default_and_limits() -> None:
    assert read_k(None) == DEFAULT_K
    assert read_k(np.array([[1], [1]], dtype=np.int32)) == 1
    assert read_k(np.array([[MAX_K]], dtype=np.int32)) == MAX_K


@pytest.mark.parametrize("k", [0, -1, MAX_K + 1, 10**9])
def test_k_outside_its_limits_is_refused(k: int) -> None:
    with pytest.raises(RequestError, match=f"K is {k}; it must be from 1 to {MAX_K}"):
        read_k(np.array([[k]], dtype=np.int32))


def test_k_must_be_the_same_for_all_rows_of_a_request() -> None:
    with pytest.raises(RequestError, match="K differs"):
        read_k(np.array([[3], [4]], dtype=np.int32))
