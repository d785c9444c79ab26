"""The comparison of two releases, by what their gates recorded."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

from mmr.errors import CorruptArtifactError
from mmr.release.bundle import Release
from mmr.release.diff import Change, ReleaseDiff, compare_releases
from mmr.release.diff_text import render_diff

Scores = Mapping[str, float]
Build = Callable[..., Release]


@pytest.fixture
def build(build_release: Callable[..., Path], tmp_path: Path) -> Build:
    """A release whose gate recorded the given figures per query, by system."""

    def make(
        name: str,
        systems: Mapping[str, Scores],
        *,
        baseline: str = "tuned text-only",
        settings: Mapping[str, object] | None = None,
        metric_version: int = 1,
    ) -> Release:
        def fill(out: Path) -> None:
            (out / "evidence").mkdir()
            means = {
                system: {
                    "overall": {"ndcg_at_10": sum(scores.values()) / len(scores), "count": 4},
                    "slices": {"kind=visual": {"ndcg_at_10": scores["q1"], "count": 1}},
                }
                for system, scores in systems.items()
            }
            gate = {
                "decision": "promote",
                "baseline_name": baseline,
                "primary_metric": "ndcg_at_10",
                "metrics": means,
                "versions": {"metrics": metric_version},
            }
            (out / "evidence/gate.json").write_text(json.dumps(gate))
            pd.DataFrame(
                [
                    (query_id, f"text of {query_id}", system, value)
                    for system, scores in systems.items()
                    for query_id, value in scores.items()
                ],
                columns=["query_id", "query", "system", "ndcg_at_10"],
            ).to_parquet(out / "evidence/per_query.parquet")
            (out / "settings.json").write_text(json.dumps(settings or {}))

        built = Release.open(build_release(name, ndcg=len(name) / 100, fill=fill))
        home = tmp_path / "releases"
        home.mkdir(exist_ok=True)
        built.path.rename(home / built.release_id)
        return Release.open(home / built.release_id)

    return make


OLD = {"q1": 0.5, "q2": 0.5, "q3": 0.5, "q4": 0.5}
NEW = {"q1": 0.9, "q2": 0.1, "q3": 0.6, "q4": 0.5}


def compare(build: Build, **more: object) -> ReleaseDiff:
    first = build("a", {"candidate": OLD}, settings={"model": {"dim": 8}, "seed": 1})
    second = build("bb", {"candidate": NEW}, settings={"model": {"dim": 16}, "seed": 1})
    return compare_releases(first, second, **{"queries": 10, **more})


def test_figures_of_different_meaning_are_not_passed_off_as_comparable(build: Build) -> None:
    first = build("a", {"candidate": OLD}, metric_version=1)
    second = build("bb", {"candidate": NEW}, metric_version=2)
    diff = compare_releases(first, second, queries=10)
    assert diff.basis == "different metrics"
    assert "cannot be compared one to one" in render_diff(diff)


def test_queries_that_changed_most_come_with_the_worst_loss_first(build: Build) -> None:
    diff = compare(build)
    assert [query.query_id for query in diff.queries] == ["q2", "q3", "q1"]
    assert (diff.better, diff.worse, diff.same) == (2, 1, 1)
    assert diff.queries[0].query == "text of q2"
    assert (diff.queries[0].before, diff.queries[0].after) == (0.5, 0.1)
    assert {query.query_id for query in compare(build_again(build), queries=2).queries} == {
        "q1",
        "q2",
    }


def build_again(build: Build) -> Build:
    """The same releases under other names: a name may be used once."""
    return lambda name, *rest, **more: build(f"again-{name}", *rest, **more)


def test_metrics_settings_and_origin_that_differ_are_named(build: Build) -> None:
    diff = compare(build)
    assert diff.metrics["overall"]["ndcg_at_10"] == Change(0.5, 0.525)
    assert diff.metrics["kind=visual"]["ndcg_at_10"] == Change(0.5, 0.9)
    assert diff.settings == {"model.dim": Change(8, 16)}
    assert diff.origin == {}
    assert diff.basis == "two gates"


def test_one_gate_that_saw_both_is_preferred_to_two(build: Build) -> None:
    first = build("a", {"candidate": dict.fromkeys(OLD, 0.0)})
    second = build(
        "bb", {"candidate": NEW, "champion": OLD}, baseline=f"champion {first.release_id}"
    )
    forth = compare_releases(first, second, queries=10)
    assert forth.basis == "one gate"
    assert forth.metrics["overall"]["ndcg_at_10"] == Change(0.5, 0.525)
    back = compare_releases(second, first, queries=10)
    assert back.basis == "one gate"
    assert back.metrics["overall"]["ndcg_at_10"] == Change(0.525, 0.5)
    assert (back.better, back.worse) == (forth.worse, forth.better)


def test_queries_of_one_release_alone_take_no_part(build: Build) -> None:
    first = build("a", {"candidate": OLD})
    second = build("bb", {"candidate": {"q1": 0.7, "q9": 0.1}})
    diff = compare_releases(first, second, queries=10)
    assert [query.query_id for query in diff.queries] == ["q1"]


def test_the_text_shows_figures_settings_and_queries(build: Build) -> None:
    text = render_diff(compare(build))
    assert "overall  ndcg_at_10        0.5000    0.5250   +0.0250        4" in text
    assert "model.dim  8 → 16" in text
    assert "Queries by ndcg_at_10: 2 better, 1 worse, 1 the same" in text
    assert "-0.4000  0.5000 → 0.1000  text of q2" in text


def test_a_query_cannot_control_the_terminal(build: Build) -> None:
    diff = compare(build)
    object.__setattr__(diff.queries[0], "query", "red\x1b[2Jsofa")
    assert "red [2Jsofa" in render_diff(diff)


def test_releases_without_figures_per_query_are_still_compared(
    build_release: Callable[..., Path],
) -> None:
    def fill(out: Path) -> None:
        (out / "evidence").mkdir()
        (out / "evidence/gate.json").write_text("{}")

    release = Release.open(build_release(fill=fill))
    diff = compare_releases(release, release, queries=5)
    assert (diff.queries, diff.settings, diff.origin) == ([], {}, {})
    assert "0 better" in render_diff(diff)


def test_damaged_evidence_is_named(build_release: Callable[..., Path]) -> None:
    release = Release.open(build_release())
    with pytest.raises(CorruptArtifactError, match=r"evidence/gate\.json cannot be read"):
        compare_releases(release, release, queries=5)


@pytest.mark.parametrize("name", ["evidence/gate.json", "evidence/per_query.parquet"])
def test_evidence_is_compared_with_its_hash_before_it_is_read(name: str, build: Build) -> None:
    release = build("a", {"candidate": OLD})
    (release.path / name).chmod(0o644)
    (release.path / name).write_bytes(b"{}")
    with pytest.raises(CorruptArtifactError, match=f"{name} differs from its recorded hash"):
        compare_releases(release, release, queries=5)
