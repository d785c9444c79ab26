"""The dashboard asks for metrics that exist, and shows all of ours."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from mmr.monitoring.exposition import METRICS
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.process import RunningServer

DASHBOARD = Path(__file__).parents[2] / "serving" / "grafana" / "mmr.json"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def names(dashboard: dict[str, Any], prefix: str) -> set[str]:
    """Metrics in the panels' expressions and the variables' queries."""
    asked = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    asked += [
        variable["query"]["query"]
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    return {name for text in asked for name in re.findall(rf"\b{prefix}_\w+", text)}


def test_dashboard_shows_every_metric_of_ours_and_no_other(dashboard: dict[str, Any]) -> None:
    assert names(dashboard, "mmr") == set(METRICS)


def test_dashboard_asks_triton_for_metrics_that_it_has(
    dashboard: dict[str, Any], served: tuple[Workspace, RunningServer]
) -> None:
    server = served[1]
    with SearchClient(server.grpc_url) as client:
        client.search("white sofa")
    url = f"http://{server.host}:{server.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()

    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert names(dashboard, "nv") - there == set()
    for label in ("model", "version"):
        assert re.search(rf'nv_inference_request_success{{[^}}]*\b{label}="', text)


def test_panels_have_numbers_of_their_own_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_says_what_it_shows_and_names_variables_that_exist(
    dashboard: dict[str, Any],
) -> None:
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["targets"]
        for target in panel["targets"]:
            used = set(re.findall(r"\$([a-z]\w*)", target["expr"]))
            assert used <= known
            # Grafana puts a duration there; the other variables stand inside of strings
            promql_parser.parse(target["expr"].replace("[$__rate_interval]", "[5m]"))
