"""The search page in a headless Chromium, and a shop with hostile titles."""

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import uvicorn
from PIL import Image

from mmr.data.writer import new_dataset
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.deploy import deploy
from serving.settings import DeploySettings, ServeSettings
from serving.ui.app import Shop, build_app
from tests.serving.deployments import register
from tests.serving.ui.browser import Browser

_COLOURS = ("white", "black", "red", "green", "blue", "oak", "grey", "yellow")
_TYPES = ("wardrobe", "table", "chair", "lamp", "sofa", "shelf", "bed", "desk")
TITLES = [f"{colour} {kind}" for kind in _TYPES for colour in _COLOURS]

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = (shutil.which(name) for name in _CHROMIUMS)
    program = os.environ.get("MMR_CHROMIUM") or next(filter(None, found), None)
    if program is None:
        pytest.skip("no Chromium here: install one, or name it in MMR_CHROMIUM")
    profile = Path(tempfile.mkdtemp(prefix="mmr-chromium-"))
    browser = Browser(program, profile)
    yield browser
    browser.close()
    shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    chromium.problems.clear()
    yield chromium
    chromium.call("Page.navigate", url="about:blank")


HOSTILE = (
    "<script>window.hacked = 1</script>",
    '<img src=x onerror="window.hacked = 2">',
    "\"'><svg onload=window.hacked=3>",
    "javascript:alert(1) ‮ يمين 🛋 \u202e",
)


@pytest.fixture(scope="session")
def product_table() -> pa.Table:
    """Hostile titles on the first products, one with an id to match; every ninth has no weights."""
    rows = range(len(TITLES))
    titles = [*HOSTILE, *TITLES[len(HOSTILE) : -1], None]
    return pa.table(
        {
            "product_id": ["p<b>0</b>/&?#", *(f"p{row}" for row in rows[1:])],
            "title": pa.array(titles, pa.string()),
            "has_text": [title is not None for title in titles],
            "has_image": [row % 5 != 0 for row in rows],
            "text_weight": pa.array(
                [None if row % 9 == 8 else 0.5 + row / 200 for row in rows], pa.float32()
            ),
            "image_weight": pa.array(
                [None if row % 9 == 8 else 0.4 - row / 200 for row in rows], pa.float32()
            ),
        }
    )


@pytest.fixture(scope="session")
def shop_dataset(product_table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one colour each; every fifth product has none, the one after it a broken one."""

    def picture(row: int) -> dict[str, object] | None:
        if row % 5 == 0:
            return None
        buffer = io.BytesIO()
        Image.new("RGB", (60, 90), (row * 4 % 256, 90, 160)).save(buffer, "PNG")
        data = b"<svg onload=alert(1)>" if row % 5 == 1 else buffer.getvalue()
        return {"bytes": data, "path": None}

    path = tmp_path_factory.mktemp("shop") / "dataset"
    with new_dataset(path, attributes={}) as writer:
        writer.add_products(
            {**row, "description": None, "image": picture(number)}
            for number, row in enumerate(product_table.select(["product_id", "title"]).to_pylist())
        )
        writer.set_queries(
            pd.DataFrame(
                [
                    ("q1", "red sofa", "colour+type", "validation"),
                    ("q2", HOSTILE[0], "type", "validation"),
                    ("q3", "never asked", "type", "train"),
                ],
                columns=["query_id", "query", "kind", "split"],
            )
        )
        writer.set_judgements(pd.DataFrame(columns=["query_id", "product_id", "grade"]))
        writer.finish(name="corner shop", prepared=None)
    return path


@pytest.fixture(scope="session")
def candidate_release(make_release: Callable[..., Path], product_table: pa.Table) -> Path:
    return make_release(12, products=product_table)


@pytest.fixture(scope="session")
def ui_shop(
    make_release: Callable[..., Path],
    product_table: pa.Table,
    triton_venv: Path,
    free_ports: Callable[[], int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Workspace]:
    """A workspace whose running Triton answers with a release of the shop."""
    workspace = Workspace.open(tmp_path_factory.mktemp("ui-shop"), create=True)
    champion = make_release(11, releases=workspace.releases, products=product_table)
    settings = ServeSettings.from_port_base(free_ports())
    registry = InMemoryTracking()
    register(registry, champion)
    try:
        launcher.start(workspace, settings=settings, triton_venv=triton_venv)
        deploy(
            champion,
            workspace=workspace,
            registry=registry,
            settings=DeploySettings(max_median_ms=5_000),  # what is tested here is not speed
        )
        yield workspace
    finally:
        launcher.shut_down(workspace, grace_s=settings.stop_grace_s)


@pytest.fixture(scope="session")
def page(ui_shop: Workspace, candidate_release: Path, shop_dataset: Path) -> Iterator[str]:
    """Address of the page as `mmr ui` serves it, in a process of its own."""
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mmr", "ui", "--port", "0"),
            *("--workspace", str(ui_shop.path)),
            *("--candidate", str(candidate_release)),
            *("--dataset", str(shop_dataset)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Search page: http://127.0.0.1:"), line
    yield line.split()[2]
    process.send_signal(signal.SIGINT)
    with process.stdout:
        assert process.wait(timeout=60) == 0


@pytest.fixture
def serve_app() -> Iterator[Callable[..., str]]:
    """Serves a page in this process, and tells its address."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(shop: Shop, *, hosts: tuple[str, ...] = ("127.0.0.1",)) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            build_app(shop, hosts=list(hosts)), log_level="warning", lifespan="off", ws="none"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield serve
    for server, thread in servers:
        server.should_exit = True
        thread.join()
