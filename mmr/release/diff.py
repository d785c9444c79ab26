"""What is different between two releases: figures, settings, origin, and single queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr.config.flat import flat_settings
from mmr.release.bundle import EVIDENCE, SETTINGS, Release
from mmr.release.evidence import CANDIDATE, CHAMPION, GateEvidence

if TYPE_CHECKING:
    import pandas as pd

_ORIGIN = (
    *("dataset_hash", "dataset_revision", "git_revision", "encoder_fingerprint", "dim"),
    *("gate_decision", "parent_release", "created_at", "mlflow_run_id"),
)


@dataclass(frozen=True)
class Change:
    """A value in the first and in the second release; None where one has none."""

    before: Any
    after: Any


@dataclass(frozen=True)
class QueryChange:
    """One query in the primary metric.

    Attributes:
        query: Its text; None where the gate did not record it.
    """

    query_id: str
    query: str | None
    before: float
    after: float


@dataclass(frozen=True)
class ReleaseDiff:
    """How the second release differs from the first.

    Attributes:
        first, second: Their ids.
        metric: What queries are compared by.
        basis: `one gate` where both answered the same queries in the same gate; `two gates` on
            the same data; `different data` or `different metrics`, where figures cannot be
            compared one to one.
        metrics: By slice (`overall` first) and metric.
        settings: Those that differ, by flat name.
        origin: Data revision, code revision, encoder and so on, where they differ.
        queries: Those that changed most, the largest loss first.
        better, worse, same: How many queries.
    """

    first: str
    second: str
    metric: str
    basis: str
    metrics: dict[str, dict[str, Change]]
    settings: dict[str, Change]
    origin: dict[str, Change]
    queries: list[QueryChange]
    better: int
    worse: int
    same: int


def compare_releases(first: Release, second: Release, *, queries: int) -> ReleaseDiff:
    """Compares two releases by what they recorded; nothing is computed anew.

    Args:
        first: The older one, say.
        second: The newer one.
        queries: How many of the queries that changed most are listed.

    Raises:
        CorruptArtifactError: Settings or evidence of one differ from their hashes or cannot be
                read.
    """
    for release in (first, second):
        release.verify(EVIDENCE, SETTINGS)
    one, two = GateEvidence.of(first), GateEvidence.of(second)
    metric = two.primary_metric
    basis, (before, first_key), (after, second_key) = _sides(first, second, one, two)
    per_query = _paired_queries(before.per_query(first_key), after.per_query(second_key), metric)
    change = per_query["after"] - per_query["before"]
    order = change.abs().sort_values(ascending=False, kind="stable").index[:queries]
    changed = change.loc[order][change.loc[order] != 0].sort_values(kind="stable").index
    return ReleaseDiff(
        first=first.release_id,
        second=second.release_id,
        metric=metric,
        basis=basis,
        metrics=_metrics(before.means(first_key), after.means(second_key)),
        settings=_differing(_settings(first), _settings(second)),
        origin=_differing(_origin(first), _origin(second)),
        queries=[
            QueryChange(str(query_id), text, before_value, after_value)
            for query_id, text, before_value, after_value in zip(
                changed,
                *(per_query.loc[changed, name].tolist() for name in ("query", "before", "after")),
                strict=True,
            )
        ],
        better=int((change > 0).sum()),
        worse=int((change < 0).sum()),
        same=int((change == 0).sum()),
    )


_Side = tuple[GateEvidence, str]


def _sides(
    first: Release, second: Release, one: GateEvidence, two: GateEvidence
) -> tuple[str, _Side, _Side]:
    """Where the figures of each come from: one gate that saw both, if there was one."""
    if two.baseline_name == f"{CHAMPION} {first.release_id}":
        return "one gate", (two, CHAMPION), (two, CANDIDATE)
    if one.baseline_name == f"{CHAMPION} {second.release_id}":
        return "one gate", (one, CANDIDATE), (one, CHAMPION)
    if one.metric_version != two.metric_version:
        return "different metrics", (one, CANDIDATE), (two, CANDIDATE)
    same = first.manifest.dataset_hash == second.manifest.dataset_hash
    return "two gates" if same else "different data", (one, CANDIDATE), (two, CANDIDATE)


def _paired_queries(before: pd.DataFrame, after: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Columns `before`, `after` and `query` of the queries that both answered."""
    both = after.index.intersection(before.index)
    pairs = after.reindex(columns=["query", metric]).loc[both].rename(columns={metric: "after"})
    pairs["before"] = before.reindex(columns=[metric]).loc[both, metric]
    pairs["query"] = pairs["query"].astype(object).where(pairs["query"].notna(), None)
    return pairs


def _metrics(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, Change]]:
    return {
        part: {
            name: Change(before.get(part, {}).get(name), after.get(part, {}).get(name))
            for name in dict.fromkeys([*after.get(part, {}), *before.get(part, {})])
        }
        for part in dict.fromkeys([*after, *before])
    }


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    return {
        name: Change(before.get(name), after.get(name))
        for name in dict.fromkeys([*after, *before])
        if before.get(name) != after.get(name)
    }


def _settings(release: Release) -> dict[str, Any]:
    recorded = (release.path / SETTINGS).is_file()
    return flat_settings(release.settings()) if recorded else {}


def _origin(release: Release) -> dict[str, Any]:
    return {name: getattr(release.manifest, name) for name in _ORIGIN}
