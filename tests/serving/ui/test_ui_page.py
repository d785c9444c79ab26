"""The search page in a real browser, before a real Triton."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from PIL import Image

from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.process import ServerRecord
from serving.ui.app import Shop
from serving.ui.searchers import ReleaseSearcher, ServedSearcher
from serving.ui.weights import ReleaseWeights

PHONE = 375
TITLES_SHOWN = (
    "[...document.querySelectorAll('#lists section:first-child h3')].map(e => e.textContent)"
)
FOUND = "document.querySelectorAll('.product').length && results.ariaBusy === 'false'"


def served(workspace: Workspace, query: str, k: int = 20):
    server = ServerRecord(workspace.serving).running()
    assert server is not None
    with SearchClient(server.grpc_url) as client:
        return client.search(query, k)


def test_typing_a_query_shows_what_triton_serves(browser, page: str, ui_shop: Workspace) -> None:
    browser.open(page)
    browser.click("#compare")  # off: what serves, alone
    browser.click("#query")
    browser.type("oak desk")
    browser.press("Enter")
    browser.wait(FOUND)

    answer = served(ui_shop, "oak desk")
    assert browser.js(TITLES_SHOWN) == [hit.title or "(no title)" for hit in answer.hits]
    scores = browser.js("[...document.querySelectorAll('.score b')].map(e => e.textContent)")
    assert scores == [f"{hit.score:.3f}" for hit in answer.hits]
    assert browser.js("document.querySelector('.release code').textContent") == answer.release_id
    assert "20 products for “oak desk”" in browser.js("document.querySelector('#status').innerText")
    assert "q=oak+desk" in browser.js("location.search")
    assert browser.problems == []


def test_an_example_can_be_clicked(browser, page: str) -> None:
    browser.open(page)
    assert browser.js("document.querySelectorAll('#examples button').length") == 2
    browser.click("#examples button")
    browser.wait(FOUND)

    assert browser.js("document.querySelector('#query').value") == "red sofa"


def test_champion_and_candidate_stand_side_by_side_with_changed_ranks_marked(
    browser, page: str, ui_shop: Workspace, candidate_release: Path
) -> None:
    browser.open(page + "?q=" + quote("grey bed"))
    browser.wait(FOUND)

    champion = [hit.product_id for hit in served(ui_shop, "grey bed", 100).hits]
    found = ReleaseSearcher(candidate_release).search("grey bed", 100)
    candidate = [hit.product_id for hit in found.hits]
    releases = browser.js("[...document.querySelectorAll('.release code')].map(e => e.textContent)")
    assert releases == [served(ui_shop, "grey bed").release_id, found.release_id]
    marks = browser.js(
        "[...document.querySelectorAll('section:last-child .product')]"
        ".map(e => [e.dataset.product, e.querySelector('.change').textContent])"
    )
    expected = []
    for rank, product in enumerate(candidate[:20]):
        before = champion.index(product)
        moved = before - rank
        arrow = f"▲ {moved}" if moved > 0 else f"▼ {-moved}"
        expected.append([product, f"{arrow}, from {before + 1}" if moved else "="])
    assert marks == expected
    assert len({mark for _, mark in marks}) > 3
    lefts = browser.js(
        "['#champion-5', '#candidate-5'].map(s => document.querySelector(s))"
        ".map(e => e.getBoundingClientRect().left)"
    )
    assert lefts[0] < lefts[1]


def test_weights_of_text_and_image_are_shown_where_the_release_states_them(
    browser, page: str, product_table: pa.Table
) -> None:
    browser.open(page + "?q=lamp")
    browser.wait(FOUND)

    shown = dict(
        browser.js(
            "[...document.querySelectorAll('section:first-child .product')].map(e => "
            "[e.dataset.product, e.querySelector('.weights').hidden ? null : "
            "e.querySelector('.weights p').textContent])"
        )
    )
    stated = {row["product_id"]: row for row in product_table.to_pylist()}
    for product_id, text in shown.items():
        row = stated[product_id]
        if row["text_weight"] is None:
            assert text is None
        else:
            found = [int(part) for part in re.findall(r"\d+", text)]
            wanted = [100 * row["text_weight"], 100 * row["image_weight"]]
            assert found == pytest.approx(wanted, abs=0.51)
    assert None in shown.values()


def test_titles_ids_and_queries_with_script_stay_text(browser, page: str) -> None:
    query = "<script>window.hacked = 4</script><img src=x onerror=window.hacked=5> wardrobe"
    browser.open(page + "?q=" + quote(query))
    browser.wait(FOUND)

    assert browser.js("typeof window.hacked") == "undefined"
    assert browser.js("document.querySelectorAll('script').length") == 1
    assert browser.js("document.querySelectorAll('#lists svg, #lists script').length") == 0
    assert query in browser.js("document.querySelector('#status').textContent")
    browser.open(page + "?q=" + quote("white wardrobe"))
    browser.wait(FOUND)
    titles = browser.js(TITLES_SHOWN)
    assert "<script>window.hacked = 1</script>" in titles
    assert browser.js("typeof window.hacked") == "undefined"
    assert browser.problems == []


def test_missing_and_broken_pictures_have_a_placeholder_and_others_load(
    browser, page: str, product_table: pa.Table
) -> None:
    browser.open(page + "?q=" + quote("red sofa"))
    browser.wait(FOUND)
    browser.js("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    browser.wait(
        "[...document.querySelectorAll('.product')].every(e => !e.querySelector('.none').hidden "
        "|| e.querySelector('img')?.naturalWidth > 0)"
    )

    pictured = browser.js(
        "[...document.querySelectorAll('section:first-child .product')]"
        ".map(e => [e.dataset.product, Boolean(e.querySelector('img'))])"
    )
    rows = product_table["product_id"].to_pylist()
    assert pictured == [[name, rows.index(name) % 5 > 1] for name, _ in pictured]
    assert len({has for _, has in pictured}) == 2


def test_everything_can_be_reached_by_keyboard_and_the_focus_is_seen(browser, page: str) -> None:
    browser.open(page + "?q=" + quote("blue shelf"))
    browser.wait(FOUND)
    browser.js("document.activeElement.blur()")
    browser.press("/")
    assert browser.js("document.activeElement.id") == "query"

    stops = []
    for _ in range(8):
        browser.press("Tab")
        stops.append(browser.js("document.activeElement.id || document.activeElement.tagName"))
    assert {"BUTTON", "compare", "champion-1", "candidate-1"} <= set(stops)
    browser.js("document.querySelector('#champion-1').focus()")
    browser.press("ArrowDown")
    assert browser.js("document.activeElement.id") == "champion-2"
    assert browser.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("ArrowRight")
    assert browser.js("document.activeElement.id") == "candidate-2"
    browser.press("Home")
    here = browser.js("document.activeElement.dataset.product")
    link = browser.js("document.activeElement.querySelector('.change').getAttribute('href')")
    browser.press("Enter")
    assert "#" + browser.js("document.activeElement.id") == link
    assert browser.js("document.activeElement.dataset.product") == here
    assert browser.js("document.querySelector('.twin').dataset.product") == here


def test_the_comparison_is_switched_off_by_the_space_bar_and_kept_in_the_address(
    browser, page: str
) -> None:
    browser.open(page + "?q=lamp")
    browser.wait(FOUND)
    browser.js("document.querySelector('#compare').focus()")
    browser.press(" ")
    browser.wait("document.querySelectorAll('section').length === 1")

    assert "compare=0" in browser.js("location.search")
    assert browser.js("document.querySelectorAll('.change').length") == 0
    browser.js("history.back()")
    browser.wait("document.querySelectorAll('section').length === 2")


@pytest.mark.parametrize("width", [320, PHONE, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser, page: str, width: int, tmp_path: Path) -> None:
    browser.open(page + "?q=" + quote("white wardrobe"), width=width, height=812)
    browser.wait(FOUND)

    assert browser.js("document.documentElement.scrollWidth") <= width
    outside = browser.js(
        "[...document.querySelectorAll('.product *')].filter(e => "
        "e.getBoundingClientRect().right > e.closest('.product').getBoundingClientRect().right + 1"
        ").length"
    )
    assert outside == 0
    widths = browser.js("[...document.querySelectorAll('section')].map(e => e.clientWidth)")
    assert len(widths) == 2
    assert min(widths) > 0.4 * width  # side by side on a phone too
    tops = browser.js(
        "[...document.querySelectorAll('.product')].map(e => [e.id, e.getBoundingClientRect().top])"
    )
    ranks: dict[str, set[float]] = {}
    for name, top in tops:
        ranks.setdefault(name.split("-")[1], set()).add(round(top))
    assert {len(heights) for heights in ranks.values()} == {1}  # equal ranks beside each other
    browser.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.width == width
        colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 50  # the page is painted, not blank


def test_without_triton_the_page_says_what_to_do_and_the_candidate_still_answers(
    browser, serve_app: Callable[..., str], candidate_release: Path, tmp_path: Path
) -> None:
    shop = Shop(
        champion=ServedSearcher(lambda: "127.0.0.1:9", timeout_s=1),
        candidate=ReleaseSearcher(candidate_release),
        pictures=None,
        weights=ReleaseWeights(tmp_path),
        name="corner shop",
        examples=(),
    )
    browser.open(serve_app(shop) + "?q=lamp")
    browser.wait(FOUND)

    failed, fine = browser.js(
        "[...document.querySelectorAll('section')]"
        ".map(e => [e.querySelector('.failed').textContent, e.querySelectorAll('li').length])"
    )
    assert "mmr serve" in failed[0]
    assert failed[1] == 0
    assert fine == ["", 20]
    assert browser.js("document.querySelectorAll('.change').length") == 0
    assert browser.js("[...document.querySelectorAll('.none')].every(e => !e.hidden)")


def test_a_refused_query_is_told_and_a_dead_page_server_too(
    browser, serve_app: Callable[..., str], candidate_release: Path, tmp_path: Path
) -> None:
    searcher = ReleaseSearcher(candidate_release)
    shop = Shop(
        champion=searcher,
        candidate=None,
        pictures=None,
        weights=ReleaseWeights(tmp_path),
        name="",
        examples=(),
    )
    browser.open(serve_app(shop))
    browser.js(f"ask({json.dumps('🛋' * 3000)})")
    browser.wait("!document.querySelector('#problem').hidden")
    assert "TEXT row 0 has 12000 bytes" in browser.js("problem.textContent")
    assert browser.js("document.querySelector('#comparison').hidden")

    browser.js("window.fetch = () => Promise.reject(new TypeError('gone'))")
    browser.js("ask('lamp')")
    browser.wait("problem.textContent.includes('mmr ui')")
