"""Whatever text a feed holds, import brings it back as it was, but for what no text may hold."""

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmr.config.data import ImportConfig, PrepareConfig
from mmr.data.dataset import Dataset
from mmr.data.split import cold_start_ids, split_queries
from mmr.data.text import clean_text, normalise_query
from mmr.stages.import_data import import_data

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Everything UTF-8 can hold: quotes, delimiters, line ends, NUL, right-to-left marks, emoji.
nasty = st.text(
    st.one_of(
        st.sampled_from('",;\t\n\r\x00\x1b\u2028\u200f\ufeff\x85é☃😀'),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)
row = st.fixed_dictionaries({"title": nasty, "description": nasty, "brand": nasty})


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_bytes("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode())
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        buffer = io.StringIO(newline="")
        writer = csv.DictWriter(
            buffer,
            list(rows[0]),
            delimiter="\t" if path.suffix == ".tsv" else ",",
            quoting=csv.QUOTE_ALL,
        )
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(buffer.getvalue().encode())


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@given(rows=st.lists(row, min_size=1, max_size=6))
@FEW
def test_text_survives_the_import(suffix: str, rows: list[dict[str, Any]]) -> None:
    numbered = [{"product_id": f"p{i}", **values} for i, values in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / f"products{suffix}", Path(folder) / "out"
        write(
            source,
            [*numbered, {"product_id": "last", "title": "x", "description": "", "brand": ""}],
        )
        import_data(source=str(source), out=out, settings=ImportConfig(max_rejects=1))
        read = Dataset(out).product_table(["product_id", "title", "description", "brand"])
        rejected = (out / "rejected.jsonl").read_text().splitlines()

    expected = [{name: clean_text(value) for name, value in values.items()} for values in numbered]
    kept = [values for values in expected if values["title"] or values["description"]]
    assert read.to_pylist()[:-1] == kept
    assert len(rejected) == len(expected) - len(kept)


@given(text=st.text(max_size=30))
@FEW
def test_cleaning_only_takes_what_no_text_may_hold(text: str) -> None:
    cleaned = clean_text(text)

    cleaned.encode()  # surrogates would not pass
    assert clean_text(cleaned) == cleaned
    if text.isprintable():
        assert cleaned == text.strip()


@given(
    queries=st.lists(nasty, min_size=1, max_size=30),
    seed=st.integers(0, 50),
    shares=st.sampled_from([(0.8, 0.2, 0.0), (0.6, 0.2, 0.2), (0.5, 0.0, 0.5)]),
)
@FEW
def test_equal_queries_share_a_split_and_no_split_is_empty(
    queries: list[str], seed: int, shares: tuple[float, float, float]
) -> None:
    config = PrepareConfig(
        train_share=shares[0], validation_share=shares[1], test_share=shares[2], seed=seed
    )
    variants = [*queries, *(query.upper() for query in queries), *(f"  {q} " for q in queries)]

    splits = split_queries(variants, config)

    places: dict[str, set[str]] = {}
    for query, split in zip(variants, splits, strict=True):
        places.setdefault(normalise_query(query), set()).add(split)
    assert all(len(found) == 1 for found in places.values())
    wanted = {s for s, share in zip(("train", "validation", "test"), shares, strict=True) if share}
    assert set(splits) <= wanted
    if len(places) >= 2 * len(wanted):
        assert set(splits) == wanted


@given(text=st.text(max_size=20))
@FEW
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    assert normalise_query(normalise_query(text)) == normalise_query(text)


def test_a_grown_log_leaves_every_query_where_it_was() -> None:
    config = PrepareConfig()
    queries = [f"query {i}" for i in range(2000)]

    before = split_queries(queries[:1000], config)
    after = split_queries(queries, config)

    assert after[:1000] == before
    assert after.count("validation") / 2000 == pytest.approx(config.validation_share, abs=0.03)


def test_cold_start_takes_whole_title_groups_at_the_stated_share() -> None:
    ids = [str(i) for i in range(6000)]
    titles = [f"Title {i // 3}" if i % 3 else f" TITLE  {i // 3}" for i in range(6000)]

    cold = cold_start_ids(ids, titles, PrepareConfig(cold_start_share=0.1))

    assert len(cold) / 6000 == pytest.approx(0.1, abs=0.02)
    assert all(len(cold & set(ids[i : i + 3])) in (0, 3) for i in range(0, 6000, 3))
