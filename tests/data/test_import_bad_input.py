"""Bad input: each case names file, row, field and cure, and leaves nothing half-written."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmr.config.data import ImportConfig
from mmr.errors import DataContractError
from mmr.stages.import_data import import_data
from tests.data.small_feeds import jpeg, run, write_feed


def fails(feed: Path, *, settings: dict[str, object] | None = None) -> str:
    """The message of an import that must fail and leave its folder as it was."""
    out = feed.parent / "out" / "dataset"
    out.parent.mkdir(exist_ok=True)
    with pytest.raises(DataContractError) as caught:
        run(feed, out, **(settings or {}))
    assert list(out.parent.iterdir()) == []
    return str(caught.value)


def rejects(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]


def test_missing_column_names_the_file_its_columns_and_the_map(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", products="sku,name\n1,Sofa\n")

    message = fails(feed)

    assert "products.csv has no column 'product_id'" in message
    assert "sku, name" in message
    assert "--map product_id=sku" in message


def test_column_mapped_but_absent_is_named(tmp_path: Path) -> None:
    message = fails(write_feed(tmp_path / "feed"), settings={"columns": {"title": "nmae"}})

    assert "--map title=nmae" in message
    assert "spelling" in message


def test_duplicate_id_names_both_lines(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", products="product_id,title\np1,A1\np2,B2\n p1 ,C3\n")

    message = fails(feed)
    assert "products.csv:4 product_id: 'p1' is taken already, by products.csv:2" in message
    assert "--max-rejects 0.334" in message

    dataset = run(feed, tmp_path / "kept", max_rejects=0.5)
    assert dataset.product_ids() == ["p1", "p2"]
    assert dataset.manifest.judgements == 2  # the first p1 stays, and so do its judgements


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg()[:-200], "is damaged or cut short"),
        (b"", "is empty (0 bytes)"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is none of JPEG"),
        (None, "is no file"),
    ],
)
def test_bad_image_file_is_rejected_by_name(
    tmp_path: Path, data: bytes | None, reason: str
) -> None:
    feed = write_feed(
        tmp_path / "feed",
        products="product_id,title,image\np1,Red sofa,good.jpg\np2,Blue chair,bad.jpg\n",
    )
    (feed / "good.jpg").write_bytes(jpeg())
    if data is not None:
        (feed / "bad.jpg").write_bytes(data)

    message = fails(feed)
    assert "products.csv:3 image: bad.jpg" in message
    assert reason in message

    dataset = run(feed, tmp_path / "kept", max_rejects=0.5)
    assert dataset.product_ids() == ["p1"]
    image, judgement = rejects(tmp_path / "kept")
    assert (image["line"], image["field"]) == (3, "image")
    assert judgement["field"] == "product_id"
    assert "'p2' was rejected" in str(judgement["reason"])
    assert dataset.judgements()["product_id"].tolist() == ["p1"]


def test_truncated_image_bytes_in_parquet_name_the_row(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    image = [{"bytes": jpeg(), "path": "a.jpg"}, {"bytes": jpeg()[:300], "path": "b.jpg"}]
    table = pa.table({"product_id": [1, 2], "title": ["A1", "B2"], "image": image})
    pq.write_table(table, feed / "products.parquet")

    assert "products.parquet:2 image: b.jpg is damaged or cut short" in fails(feed)


def test_image_beyond_the_limits_is_not_decoded(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", products="product_id,title,image\np1,Red sofa,a.png\n")
    Image.new("1", (3000, 2000)).save(feed / "a.png")

    message = fails(feed, settings={"max_image_megapixels": 5})
    assert "is too large to decode: 3000 x 2000 pixels; at most 5 million" in message
    message = fails(feed, settings={"max_image_mebibytes": 2**-12})
    assert "a.png has more than 0.000244141 MiB" in message


def test_decompression_bomb_is_refused(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", products="product_id,title,image\np1,Red sofa,a.png\n")
    Image.new("1", (20_000, 20_000)).save(feed / "a.png")  # 50 KB on disk, 400 million pixels

    assert "is too large to decode" in fails(feed)


def test_image_url_is_refused_with_the_cure(tmp_path: Path) -> None:
    feed = write_feed(
        tmp_path / "feed", products="product_id,title,image\np1,Sofa,https://shop.example/a.jpg\n"
    )

    message = fails(feed)

    assert "'https://shop.example/a.jpg' is a URL" in message
    assert "--images" in message


def test_csv_that_is_not_utf8_names_line_and_byte(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed")
    data = "product_id,title\np1,Red\np2,Tür\n".encode("latin-1")
    (feed / "products.csv").write_bytes(data)

    message = fails(feed)

    assert (
        f"products.csv:3 is not UTF-8: the byte 0xfc stands at byte {data.index(0xFC)}" in message
    )
    assert "iconv" in message


def test_utf16_is_named_as_such(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed")
    (feed / "products.csv").write_bytes("product_id,title\np1,Red\n".encode("utf-16"))

    assert "UTF-16 byte order mark" in fails(feed)


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ("q1,p9,1", "product_id", "'p9' is no product of the feed"),
        ("q9,p1,1", "query_id", "'q9' is no query of the feed"),
        ("q1,p2,eleven", "grade", "'eleven' is no number"),
        ("q1,p2,1.5", "grade", "1.5 is no whole number from 0 to 10"),
        ("q1,p2,11", "grade", "11 is no whole number"),
        ("q1,p2,nan", "grade", "'nan' is no number"),
        ("q1,p1,3", "grade", "is 3, but line 2 says 2"),
        (",p1,1", "query_id", "is empty"),
        ("q1,p1", None, "the row has 2 values, but the header has 3 columns"),
        ('q1,"p"1,1', None, "malformed CSV"),
    ],
)
def test_bad_judgement_is_rejected_with_its_line(
    tmp_path: Path, row: str, field: str | None, reason: str
) -> None:
    feed = write_feed(
        tmp_path / "feed",
        judgements=f"query_id,product_id,grade\nq1,p1,2\n{row}\nq2,p2,1\n",
    )

    message = fails(feed)
    assert f"judgements.csv:3 {field + ': ' if field else ''}" in message
    assert reason in message

    assert run(feed, tmp_path / "kept", max_rejects=0.4).manifest.judgements == 2
    (reject,) = rejects(tmp_path / "kept")
    assert reject["line"] == 3
    assert reject["field"] == field
    assert str(reject["file"]).endswith("judgements.csv")


def test_judgement_repeated_with_the_same_grade_is_taken_once(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", judgements="query_id,product_id,grade\nq1,p1,2\nq1,p1,2\n")

    report = import_data(source=str(feed), out=tmp_path / "out", settings=ImportConfig())

    assert (report.judgements, report.repeated_judgements) == (1, 1)


def test_bad_queries_are_rejected_and_their_judgements_dropped(tmp_path: Path) -> None:
    feed = write_feed(
        tmp_path / "feed",
        queries="query_id,query,split\nq1,red sofa,train\nq2, ,train\nq3,chair,holdout\n",
        judgements="query_id,product_id,grade\nq1,p1,2\nq2,p2,1\n",
    )

    message = fails(feed)
    assert "queries.csv:3 query: is empty" in message
    assert "queries.csv:4 split: 'holdout' is none of train, validation, test" in message

    report = import_data(
        source=str(feed), out=tmp_path / "kept", settings=ImportConfig(max_rejects=0.7)
    )
    assert report.rejected == {"query": 2}
    assert report.dropped == {"judgement": 1}


@pytest.mark.parametrize("text", ["", "product_id,title\n", "\ufeffproduct_id,title\r\n\r\n"])
def test_empty_catalogue_stops(tmp_path: Path, text: str) -> None:
    assert "the catalogue is empty" in fails(write_feed(tmp_path / "feed", products=text))


def test_catalogue_of_which_every_row_is_rejected_stops(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", products="product_id,title\n,Sofa\n")

    assert "every row was rejected" in fails(feed, settings={"max_rejects": 1.0})


def test_unclosed_quote_stops_instead_of_swallowing_the_rest(tmp_path: Path) -> None:
    rows = "".join(f"p{i},Title {i}\n" for i in range(500))
    feed = write_feed(tmp_path / "feed", products=f'product_id,title\n{rows}x1,"Sofa\n{rows}')

    assert "products.csv:502 opens a quoted value that never ends" in fails(feed)


def test_product_with_nothing_to_embed_is_rejected(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed", products="product_id,title\np1,A sofa\np2, \n")

    assert "products.csv:3 the product has no title, description or image" in fails(feed)


def test_damaged_parquet_and_jsonl_are_named(tmp_path: Path) -> None:
    feed = tmp_path / "feed"
    feed.mkdir()
    (feed / "products.parquet").write_bytes(b"PAR1 cut")
    assert "products.parquet is no whole Parquet file" in fails(feed)
    (feed / "products.parquet").unlink()

    (feed / "products.jsonl").write_text('{"product_id": 1, "title": "A1"}\n[1]\n{"product_id":\n')
    message = fails(feed)
    assert "products.jsonl:2 the line is a list, not an object" in message
    assert "products.jsonl:3 the line is no JSON" in message


def test_unclear_sources_are_refused(tmp_path: Path) -> None:
    feed = write_feed(tmp_path / "feed")
    run(feed, tmp_path / "dataset")
    shutil.copy(feed / "products.csv", feed / "products.tsv")

    assert "more than one set of product files" in fails(feed)
    assert "is a dataset already" in fails(tmp_path / "dataset")
    assert "There is no feed at" in fails(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no product file" in fails(tmp_path / "empty")
    (tmp_path / "feed.xlsx").write_bytes(b"PK")
    assert "is of an unknown kind" in fails(tmp_path / "feed.xlsx")


def test_judgements_without_queries_are_refused(tmp_path: Path) -> None:
    assert "--queries FILE" in fails(write_feed(tmp_path / "feed", queries=None))


def test_far_too_many_rejects_stop_before_the_end(tmp_path: Path) -> None:
    rows = "".join(f"p{i},Title\n" * 2 for i in range(3000))
    feed = write_feed(tmp_path / "feed", products=f"product_id,title\n{rows}")

    assert "At least 1,000 of 6,000 product rows are rejected" in fails(feed)
