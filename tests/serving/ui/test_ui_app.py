"""What the page's server answers, refuses, and says of a release that states no weights."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from urllib.parse import quote, urlencode

import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from mmr.data.dataset import Dataset
from mmr.data.writer import new_dataset
from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.client import SearchAnswer, TitledHit
from serving.process import RunningServer, ServerRecord, start_ticks
from serving.ui import run
from serving.ui.app import Shop
from serving.ui.comparison import TimedAnswer, shown_list
from serving.ui.pictures import Pictures
from serving.ui.run import PageSettings, open_shop, serve_page
from serving.ui.searchers import ReleaseSearcher, ServedSearcher, server_of
from serving.ui.weights import ProductWeights, ReleaseWeights

ServeApp = Callable[..., str]


def get(url: str, **headers: str) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def ask(page: str, **parameters: str) -> tuple[int, dict]:
    status, _, body = get(f"{page}api/search?{urlencode(parameters)}")
    return status, json.loads(body)


@pytest.fixture
def shop(candidate_release: Path, shop_dataset: Path) -> Shop:
    searcher = ReleaseSearcher(candidate_release)
    return Shop(
        champion=searcher,
        candidate=searcher,
        pictures=Pictures(Dataset(shop_dataset)),
        weights=ReleaseWeights(candidate_release.parent),
        name="corner shop",
        examples=(),
    )


@pytest.mark.parametrize("path", ["", "api/page", "picture?id=p2", "static/page.js", "nowhere"])
def test_every_answer_forbids_foreign_scripts_and_frames(
    shop: Shop, serve_app: ServeApp, path: str
) -> None:
    _, headers, _ = get(serve_app(shop) + path)

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_a_page_on_loopback_answers_to_its_own_names_alone(shop: Shop, serve_app: ServeApp) -> None:
    page = serve_app(shop, hosts=tuple(run._own_names("127.0.0.1")))

    assert get(page + "api/page", Host="localhost:8080")[0] == 200
    assert get(page + "api/page", Host="[::1]:8080")[0] == 200
    assert get(page + "api/page", Host="shop.example")[0] == 400


def test_a_page_bound_to_the_network_answers_to_any_name(shop: Shop, serve_app: ServeApp) -> None:
    page = serve_app(shop, hosts=tuple(run._own_names("0.0.0.0")))

    assert get(page + "api/page", Host="shop.example")[0] == 200


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "TEXT row 0 is empty"),
        ({"q": " \t"}, "TEXT row 0 is empty"),
        ({"q": "x" * 10_241}, "10241 bytes"),
        ({"q": "lamp", "k": "0"}, "k is '0'"),
        ({"q": "lamp", "k": "101"}, "k is '101'"),
        ({"q": "lamp", "k": "10000000000"}, "k is '10000000000'"),
        ({"q": "lamp", "k": "-1"}, "k is '-1'"),
        ({"q": "lamp", "k": "0100"}, "k is '0100'"),
        ({"q": "lamp", "k": "0100" + "0" * 5_000}, "k is '01000000"),
        ({"q": "lamp", "k": "٣"}, "k is"),
        ({"q": "lamp", "k": ""}, "k is ''"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_by_its_field(
    shop: Shop, serve_app: ServeApp, parameters: dict[str, str], named: str
) -> None:
    status, answer = ask(serve_app(shop), **parameters)

    assert status == 400
    assert named in answer["error"]


@pytest.mark.parametrize(
    "query", ["'; DROP TABLE products; --", "لمبة 🛋 \u202e", "\x00\x07", "a" * 9_000]
)
def test_a_strange_query_is_answered(shop: Shop, serve_app: ServeApp, query: str) -> None:
    status, answer = ask(serve_app(shop), q=query, k="3", compare="1")

    assert status == 200
    assert len(answer["champion"]["products"]) == len(answer["candidate"]["products"]) == 3


def test_a_picture_is_found_by_any_id_and_shrunk(
    shop: Shop, serve_app: ServeApp, tmp_path: Path
) -> None:
    page = serve_app(shop)

    status, headers, jpeg = get(f"{page}picture?id=p2")
    (tmp_path / "p2.jpg").write_bytes(jpeg)
    with Image.open(tmp_path / "p2.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (60, 90))
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    for product_id in ("p<b>0</b>/&?#", "p1", "unknown", "", "../../etc/passwd"):
        assert get(f"{page}picture?id={quote(product_id, safe='')}")[0] == 404


def test_pictures_are_found_in_every_row_group(tmp_path: Path) -> None:
    def png(row: int) -> bytes:
        file = tmp_path / "one.png"
        Image.new("RGB", (4, 4), (row % 256, row // 256, 7)).save(file)
        return file.read_bytes()

    pictured = {row: {"bytes": png(row), "path": None} for row in (0, 1023, 1024, 2100)}
    with new_dataset(tmp_path / "many", attributes={}) as writer:
        writer.add_products(
            {
                "product_id": f"p{row}",
                "title": None,
                "description": None,
                "image": pictured.get(row),
            }
            for row in range(2101)
        )
        writer.set_queries(pd.DataFrame(columns=["query_id", "query", "kind", "split"]))
        writer.set_judgements(pd.DataFrame(columns=["query_id", "product_id", "grade"]))
        writer.finish(name="many", prepared=None)
    pictures = Pictures(Dataset(tmp_path / "many"))

    for row in pictured:
        found = pictures.jpeg(f"p{row}")
        assert found is not None
        (tmp_path / "found.jpg").write_bytes(found)
        with Image.open(tmp_path / "found.jpg") as image:
            red, green, _ = image.convert("RGB").getpixel((2, 2))
        assert (abs(red - row % 256), abs(green - row // 256)) <= (4, 4)
    assert pictures.jpeg("p5") is None


def answer(release_id: str, *product_ids: str) -> TimedAnswer:
    hits = [
        TitledHit(rank, 1 - rank / 10, product_id, "title")
        for rank, product_id in enumerate(product_ids, start=1)
    ]
    return TimedAnswer(SearchAnswer(release_id, tuple(hits)), 1.0)


def test_ranks_are_told_beyond_the_products_that_are_shown(tmp_path: Path) -> None:
    weights = ReleaseWeights(tmp_path)
    one, two = answer("a", "x", "y", "z"), answer("b", "z", "x", "new")

    left = shown_list(one, two, shown=2, weights=weights)
    right = shown_list(two, one, shown=3, weights=weights)

    assert [(p.product_id, p.other_rank) for p in left.products] == [("x", 2), ("y", None)]
    assert [p.other_rank for p in right.products] == [3, 1, None]
    assert [p.other_rank for p in shown_list(one, None, shown=3, weights=weights).products] == [
        None
    ] * 3


def test_a_release_that_is_not_here_or_damaged_has_no_weights_and_says_why(
    make_release: Callable[..., Path], product_table: pa.Table, tmp_path: Path
) -> None:
    release = make_release(13, releases=tmp_path / "releases", products=product_table)
    stated, note = ReleaseWeights(tmp_path / "releases").of(release.name, ["p2", "p8", "unknown"])
    assert stated == {"p2": ProductWeights(pytest.approx(0.51), pytest.approx(0.39))}  # p8: none
    assert note == ""

    absent, note = ReleaseWeights(tmp_path / "releases").of("0" * 16, ["p2"])
    assert (absent, "is not in" in note) == ({}, True)

    file = release / "index" / "products.parquet"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-9])
    damaged, note = ReleaseWeights(tmp_path / "releases").of(release.name, ["p2"])
    assert (damaged, "differs from its recorded hash" in note) == ({}, True)


def test_an_older_release_without_weights_says_so(
    make_release: Callable[..., Path], tmp_path: Path
) -> None:
    release = make_release(14, releases=tmp_path)

    weights, note = ReleaseWeights(tmp_path).of(release.name, ["14-0"])

    assert weights == {}
    assert "mmr explain" in note


def test_the_page_follows_a_server_that_was_started_again_on_another_port(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    searcher = ServedSearcher(server_of(workspace), timeout_s=0.5)
    with pytest.raises(ServingError, match="mmr serve"):
        searcher.search("lamp", 1)

    for port in (5, 6):  # nothing answers there; the message names the address that was asked
        ServerRecord(workspace.serving).write(
            RunningServer(os.getpid(), start_ticks(os.getpid()), "127.0.0.1", 1, port, 2)
        )
        with pytest.raises(ServingError, match=f"127.0.0.1:{port}"):
            searcher.search("lamp", 1)
    searcher.close()


def test_a_workspace_without_server_candidate_and_dataset_still_has_a_page(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "shop", create=True)
    nothing = PageSettings(host="127.0.0.1", port=0, triton=None, candidate=None, dataset=None)

    shop = open_shop(workspace, nothing)

    assert (shop.candidate, shop.pictures, shop.examples, shop.name) == (None, None, (), "shop")


def test_a_taken_port_is_told_with_the_cure(shop: Shop) -> None:
    with run._bind("127.0.0.1", 0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        settings = PageSettings("127.0.0.1", taken.getsockname()[1], None, None, None)
        with pytest.raises(ServingError, match="--port"):
            serve_page(shop, settings, started=print)
