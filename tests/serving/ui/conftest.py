"""A headless Chromium driven over its DevTools protocol, and a shop with hostile titles."""

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import uvicorn
import websocket
from PIL import Image

from mmr.data.writer import new_dataset
from mmr.tracking import InMemoryTracking
from mmr.workspace import Workspace
from serving import launcher
from serving.deploy import deploy
from serving.settings import DeploySettings, ServeSettings
from serving.ui.app import Shop, build_app

_COLOURS = ("white", "black", "red", "green", "blue", "oak", "grey", "yellow")
_TYPES = ("wardrobe", "table", "chair", "lamp", "sofa", "shelf", "bed", "desk")
TITLES = [f"{colour} {kind}" for kind in _TYPES for colour in _COLOURS]

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_WAIT_S = 60.0
_KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    "/": ("Slash", 191, "/"),
    " ": ("Space", 32, " "),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "Home": ("Home", 36, ""),
    "End": ("End", 35, ""),
}


class Browser:
    """One page of a headless Chromium: what a person does, and what the page then holds.

    Attributes:
        problems: Exceptions of scripts, and what the page's own security policy refused.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.problems: list[str] = []
        self._number = 0
        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",  # tests may run as root
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._socket = websocket.create_connection(
            self._page_address(profile), suppress_origin=True, timeout=60
        )
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as if a person looked

    def _page_address(self, profile: Path) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                port = (profile / "DevToolsActivePort").read_text().split()[0]
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                    targets = json.load(answer)
                return next(t["webSocketDebuggerUrl"] for t in targets if t["type"] == "page")
            except (OSError, IndexError, StopIteration):
                time.sleep(0.1)
        raise RuntimeError("Chromium did not open its DevTools port within 60 s")

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(timeout=20)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(event["params"]["exceptionDetails"]))
        entry = event.get("params", {}).get("entry", {})
        if entry.get("level") == "error" and entry.get("source") != "network":
            self.problems.append(f"{entry['source']}: {entry['text']}")

    def js(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until a JavaScript condition holds."""
        deadline = time.monotonic() + _WAIT_S
        while not self.js(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"after {_WAIT_S} s: {condition}"
            time.sleep(0.05)

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        self.size(width, height)
        self.call("Page.navigate", url=url)
        self.wait("document.body && document.body.dataset.ready")

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def click(self, selector: str) -> None:
        """Moves the mouse to the middle of an element and presses it there."""
        self.js(f"window.wanted = document.querySelector({json.dumps(selector)})")
        self.js("wanted.scrollIntoView({block: 'center'})")
        place = self.js(
            "(b => [b.left + b.width / 2, b.top + b.height / 2])(wanted.getBoundingClientRect())"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        code, number, text = _KEYS[key]
        common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        path.write_bytes(base64.b64decode(image["data"]))


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
    registry.register(release_id=champion.name, release_dir=champion, run_id=None, tags={})
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
