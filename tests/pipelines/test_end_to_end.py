"""The whole workflow for real: generated feed, KFP's local runner, MLflow on SQLite, Triton.

One run is killed in training, started again, and goes through to searches; then it is repeated.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mmr.data.dataset import Dataset
from mmr.release.bundle import Release
from serving.triton_venv import TritonVenv

NEW_PRODUCT = "new-violin-case"
SOURCE = "showroom:products=160,queries=160,seed=7"
BEFORE_THE_GATE = (
    "import_data",
    "validate_data",
    "train_text_only",
    "finetune_vision",
    "align_queries",
    "train_fusion",
    "embed_catalogue",
    "build_index",
)
# Of each text two word pieces are read and the baseline hardly learns, so that the photographs have
# all to bring, a minute of training is enough to be far better, and the way through the gate can be
# tested; what a gain is worth is the business of other tests.
SETTINGS = """
model:
  text: {max_product_tokens: 4}
  vision: {height: 32, width: 32}
text_only:
  loop: {steps: 400, learning_rate: 0.0000001, validate_every: 10, patience: 100,
         checkpoint_every: 10, backbone_learning_rate: 0}
vision:
  loop: {steps: 10, validate_every: 10}
  batch_size: 32
  only_if_better: true
align:
  loop: {steps: 30, learning_rate: 0.001, validate_every: 10}
fusion:
  loop: {steps: 60, learning_rate: 0.001, validate_every: 20}
  image_only_steps: 20
gate: {confidence: 0.6, max_p: 0.4, slice_margin: 1.0, resamples: 999}
"""


@dataclass(frozen=True)
class Shop:
    """One workspace and how to run mmr in it."""

    directory: Path
    port_base: int

    @property
    def workspace(self) -> Path:
        return self.directory / "workspace"

    def command(self) -> list[str]:
        settings = self.directory / "settings.yaml"
        settings.write_text(SETTINGS, encoding="utf-8")
        return [
            *(sys.executable, "-m", "mmr", "run", SOURCE, "--preset", str(settings)),
            *("--workspace", str(self.workspace), "--port-base", str(self.port_base)),
        ]

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(), capture_output=True, text=True, check=False)

    def mmr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mmr", *arguments, "--workspace", str(self.workspace)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def last_summary(self) -> dict[str, Any]:
        file = max(self.workspace.glob("runs/*/summary.json"))
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return summary


@dataclass(frozen=True)
class KilledRun:
    """What a killed run left behind.

    Attributes:
        processes: Those that still run.
        models: Model directories, which should not be there yet.
        history: The checkpoint's training history: steps, metrics, seconds.
    """

    processes: list[int]
    models: set[Path]
    history: list[dict[str, float]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[], int]) -> Iterator[Shop]:
    TritonVenv.locate()  # `make test` builds it
    shop = Shop(tmp_path_factory.mktemp("shop"), free_ports())
    yield shop
    subprocess.run(
        [sys.executable, "-m", "mmr", "serve", "--stop", "--workspace", str(shop.workspace)],
        check=False,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def killed(shop: Shop) -> KilledRun:
    process = subprocess.Popen(shop.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = shop.workspace / "cache" / "checkpoints"
    _wait_for(lambda: any(checkpoints.glob("*.pt")), seconds=200)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with contextlib.suppress(TimeoutError):
        _wait_for(lambda: not _processes_in(shop.workspace), seconds=20)
    artifacts = shop.workspace / "pipeline-runs" / "artifacts"
    (checkpoint,) = checkpoints.glob("*.pt")
    return KilledRun(
        processes=_processes_in(shop.workspace),
        models=set(artifacts.glob("*/train-text-only/model")),
        history=torch.load(checkpoint, weights_only=True)["state"]["history"],
    )


@pytest.fixture(scope="module")
def finished(shop: Shop, killed: KilledRun) -> subprocess.CompletedProcess[str]:
    return shop.run()


@pytest.fixture(scope="module")
def first(shop: Shop, finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return shop.last_summary()


@pytest.mark.timeout(600)
def test_killed_run_leaves_no_process_and_no_half_written_model(killed: KilledRun) -> None:
    assert killed.processes == []
    assert killed.models == set()


@pytest.mark.timeout(600)
def test_run_after_a_kill_resumes_in_the_middle_of_the_training(
    shop: Shop, killed: KilledRun, first: dict[str, Any]
) -> None:
    status = {step["name"]: step["status"] for step in first["steps"]}
    assert status["import_data"] == status["validate_data"] == "reused"
    assert status["train_text_only"] == "done"

    (model,) = shop.workspace.glob("pipeline-runs/artifacts/*/train-text-only/model")
    training = json.loads((model / "training.json").read_text(encoding="utf-8"))
    done = [{**record, "stage": "text_only"} for record in killed.history]
    assert len(done) >= 1
    assert training["history"][: len(done)] == done  # the seconds too: not trained again
    assert training["steps"] == 400
    assert not list((shop.workspace / "cache" / "checkpoints").glob("*.pt"))


@pytest.mark.timeout(600)
def test_release_that_the_gate_promoted_answers_the_example_searches(
    shop: Shop, first: dict[str, Any]
) -> None:
    assert first["gate"]["decision"] == "promote"
    assert first["deployed"]
    assert (shop.workspace / "releases" / first["release_id"] / "release.json").is_file()
    assert len(first["searches"]) == 3
    assert {search["release_id"] for search in first["searches"]} == {first["release_id"]}
    assert all(len(search["hits"]) == 3 for search in first["searches"])
    data = Dataset(Path(first["dataset_path"]))
    query_of = data.queries("validation").set_index("query_id")["query"]
    judgements = {
        (query_of[row.query_id], row.product_id): row.grade
        for row in data.judgements("validation").itertuples()
    }
    for search in first["searches"]:
        for hit in search["hits"]:
            assert hit["grade"] == judgements.get((search["query"], hit["product_id"]))
    assert any(hit["grade"] for search in first["searches"] for hit in search["hits"])


@pytest.mark.timeout(600)
def test_summary_shows_what_a_person_wants_to_know(
    first: dict[str, Any], finished: subprocess.CompletedProcess[str]
) -> None:
    shown = finished.stdout

    for text in (
        "160 products",
        "ndcg_at_10",
        "text-only",
        "fused",
        "promote",
        "recall@100",
        first["release_id"],
        first["searches"][0]["query"],
        "report.html",
        "sqlite:///",
    ):
        assert text in shown
    assert "Traceback" not in shown + finished.stderr
    assert "KFP Executor" not in shown
    assert Path(first["report"]).is_file()


@pytest.mark.timeout(600)
def test_unchanged_run_is_answered_from_the_step_cache_up_to_the_gate(
    shop: Shop, first: dict[str, Any]
) -> None:
    again = shop.run()
    assert again.returncode == 0, again.stdout + again.stderr
    second = shop.last_summary()

    status = {step["name"]: step["status"] for step in second["steps"]}
    assert [status[name] for name in BEFORE_THE_GATE] == ["reused"] * len(BEFORE_THE_GATE)
    assert second["gate"]["decision"] == "hold"  # it is the champion itself
    assert not second["deployed"]
    assert second["release_id"] == first["release_id"]  # its own evidence makes no new release
    assert [path.name for path in (shop.workspace / "releases").iterdir()] == [first["release_id"]]
    assert "is the champion already" in again.stdout
    assert {search["release_id"] for search in second["searches"]} == {first["release_id"]}


@pytest.fixture(scope="module")
def newer_feed(first: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's products as a plain feed: one is gone, one is new, and no queries."""
    feed = tmp_path_factory.mktemp("feed")
    rows = []
    for batch in Dataset(Path(first["dataset_path"])).product_batches():
        for product in batch.to_pylist():
            image = f"{product['product_id']}.jpg" if product["image"] else ""
            if image:
                (feed / image).write_bytes(product["image"]["bytes"])
            names = ("product_id", "title", "description")
            rows.append({**{name: product[name] for name in names}, "image": image})
    rows[0] = {"product_id": NEW_PRODUCT, "title": "violin case", "description": "", "image": ""}
    pd.DataFrame(rows).to_csv(feed / "products.csv", index=False)
    return feed


@pytest.fixture(scope="module")
def refreshed(shop: Shop, newer_feed: Path) -> dict[str, Any]:
    done = shop.mmr("refresh", str(newer_feed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 new, 0 changed, 1 removed; 159 vectors reused, 1 embedded" in done.stdout
    file = max(shop.workspace.glob("runs/*/refresh.json"))
    summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return summary


@pytest.mark.timeout(600)
def test_refresh_puts_a_newer_feed_into_production_and_rollback_takes_it_back(
    shop: Shop, first: dict[str, Any], refreshed: dict[str, Any]
) -> None:
    assert refreshed["deployed"]
    assert refreshed["champion"] == first["release_id"]
    manifest = Release.open(shop.workspace / "releases" / refreshed["release_id"]).manifest
    assert manifest.parent_release == first["release_id"]
    served = shop.mmr("search", "violin case", "-k", "5").stdout
    assert NEW_PRODUCT in served
    assert refreshed["release_id"] in served

    back = shop.mmr("rollback")
    assert back.returncode == 0, back.stderr
    served = shop.mmr("search", "violin case", "-k", "5").stdout
    assert NEW_PRODUCT not in served
    assert first["release_id"] in served


@pytest.mark.timeout(600)
def test_refresh_by_what_the_champion_holds_already_makes_no_release(
    shop: Shop, first: dict[str, Any], refreshed: dict[str, Any]
) -> None:
    before = set(shop.workspace.glob("releases/*"))
    done = shop.mmr("refresh", first["dataset_path"])

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Nothing changed: release {first['release_id']} holds exactly these" in done.stdout
    assert set(shop.workspace.glob("releases/*")) == before


def _processes_in(directory: Path) -> list[int]:
    """Processes that were started with a path below a directory among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(directory) in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def _wait_for(condition: Any, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds:.0f} s")
        time.sleep(0.05)
