"""`mmr monitor`: from a query log that the live model's own code wrote, to report and status."""

from __future__ import annotations

import json
from pathlib import Path

from serving.live.places import LivePlaces
from serving.live.settings import QueryLogSettings, QueryText
from tests.monitoring import exposition_parser as exposition
from tests.pipelines.conftest import Run
from tests.pipelines.watched_shop import DRIFTED, USUAL, Shop


def test_profile_that_is_not_the_recorded_one_is_refused(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL)
    profile = shop.release.path / "query_profile" / "profile.json"
    profile.chmod(0o644)
    profile.write_text(profile.read_text() + " ")

    status, out, err = mmr("monitor", "--workspace", shop.path)

    assert status == 1
    assert "query_profile/profile.json differs from its recorded hash" in out + err
    assert not (shop.workspace.monitor / "report").exists()


def test_usual_queries_are_within_all_limits(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL)
    status, out, err = mmr("monitor", "--workspace", shop.path)

    assert status == 0, out + err
    assert f"900 records of release {shop.release.release_id}" in out
    assert "breach" not in out.replace("warn / breach", "")
    report = json.loads((shop.workspace.monitor / "report" / "report.json").read_text())
    assert report["status"] == "ok"
    assert report["records"] == 900
    assert report["coverage"] > 0
    metrics = exposition.parse((shop.workspace.monitor / "mmr.prom").read_text())
    assert metrics["mmr_queries"].samples == {(): 900.0}
    for name in ("report.html", "report.md"):
        assert shop.release.release_id in (shop.workspace.monitor / "report" / name).read_text()


def test_drifted_queries_are_a_breach_with_a_status_of_its_own(shop: Shop, mmr: Run) -> None:
    shop.ask(DRIFTED)
    status, out, _ = mmr("monitor", "--workspace", shop.path, "--json")

    assert status == 3
    report = json.loads(out)
    breached = [m["name"] for m in report["measures"] if m["status"] == "breach"]
    assert breached == ["embedding_drift", "new_words"]
    assert report["new_words"][0] == ["terrace", 400]


def test_hashed_log_tells_drift_too_and_no_word(shop: Shop, mmr: Run, tmp_path: Path) -> None:
    LivePlaces(shop.workspace.serving).write_query_log_settings(
        QueryLogSettings(query=QueryText.HASH)
    )
    shop.ask([f"{text} number{n}" for n in range(5) for text in DRIFTED])
    status, out, _ = mmr("monitor", "--workspace", shop.path, "--json")

    report = json.loads(out)
    found = {m["name"]: m["status"] for m in report["measures"]}
    assert status == 3
    assert found["embedding_drift"] == "breach"
    assert found["unseen_products"] == "not recorded"
    assert report["new_words"] == []
    log = "".join(path.read_text() for path in shop.workspace.serving.glob("query-log/*.jsonl"))
    assert "hammock" not in log + out


def test_failures_of_the_model_are_told(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL, failing=100)
    status, out, _ = mmr("monitor", "--workspace", shop.path)

    assert status == 3
    assert "100 of 1,000: MemoryError 100" in out


def test_torn_and_damaged_lines_are_named_and_the_rest_counts(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL[:300])
    (closed,) = (shop.workspace.serving / "query-log").glob("*.jsonl")
    with closed.open("ab") as file:
        file.write(b'{"time": "2026\n\xff\xfe\n')
    growing = closed.with_name("29990101T000000000000-1.jsonl.open")
    growing.write_bytes(closed.read_bytes().splitlines()[0][:50])
    status, out, _ = mmr("monitor", "--workspace", shop.path)

    assert status == 0
    assert "300 records" in out
    assert f"{closed.name}:301" in out
    assert f"{closed.name}:302" in out
    assert growing.name not in out  # its last line is being written


def test_release_from_before_profiles_is_explained(shop: Shop, mmr: Run) -> None:
    shop.release = shop.add_release("2025-01-01T00:00:00+00:00", with_profile=False, ndcg=0.1)
    shop.ask(USUAL)
    status, out, _ = mmr("monitor", shop.release.release_id, "--workspace", shop.path, "--json")

    assert status == 0
    found = {measure["name"]: measure for measure in json.loads(out)["measures"]}
    assert found["embedding_drift"]["status"] == "not recorded"
    assert "no query profile" in found["embedding_drift"]["note"]
    assert "`mmr run` makes one" in found["embedding_drift"]["note"]
    assert found["p95_ms"]["status"] == "ok"


def test_log_that_is_not_there_says_how_to_get_one(shop: Shop, mmr: Run) -> None:
    status, _, err = mmr("monitor", "--workspace", shop.path)

    assert status == 1
    assert err.count("\n") == 1
    assert "There is no query log" in err
    assert "`mmr deploy RELEASE`" in err


def test_other_places_for_log_report_and_metrics(shop: Shop, mmr: Run, tmp_path: Path) -> None:
    shop.ask(USUAL[:250])
    elsewhere = tmp_path / "gathered"
    (shop.workspace.serving / "query-log").rename(elsewhere)
    status, out, _ = mmr(
        *("monitor", "--workspace", shop.path, "--log", str(elsewhere)),
        *("--out", str(tmp_path / "out"), "--textfile", str(tmp_path / "node" / "a.prom")),
    )

    assert status == 0, out
    assert (tmp_path / "out" / "report.html").is_file()
    assert exposition.parse((tmp_path / "node" / "a.prom").read_text())
    assert not shop.workspace.monitor.exists()


def test_second_look_replaces_the_first_as_a_whole(shop: Shop, mmr: Run) -> None:
    shop.ask(USUAL[:250])
    mmr("monitor", "--workspace", shop.path)
    shop.ask(USUAL[:50])
    mmr("monitor", "--workspace", shop.path)

    names = sorted(path.name for path in shop.workspace.monitor.rglob("*"))
    assert names == ["mmr.prom", "report", "report.html", "report.json", "report.md"]
    report = json.loads((shop.workspace.monitor / "report" / "report.json").read_text())
    assert report["records"] == 300


def test_printed_settings_are_read_back_the_same_and_decide(
    shop: Shop, mmr: Run, tmp_path: Path
) -> None:
    status, out, _ = mmr("monitor", "--print-settings")
    assert status == 0
    file = tmp_path / "monitor.yaml"
    file.write_text(out)
    assert mmr("monitor", "--print-settings", "--settings", str(file))[1] == out

    shop.ask(USUAL)
    file.write_text("p95_ms: {breach: 0.5}\n")
    assert mmr("monitor", "--workspace", shop.path, "--settings", str(file))[0] == 3
    file.write_text("p95_ms: {breech: 0.5}\n")
    status, _, err = mmr("monitor", "--workspace", shop.path, "--settings", str(file))
    assert status == 1
    assert "p95_ms.breech" in err
