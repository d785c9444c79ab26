"""Rules of the gate on how the candidate will serve, and on the age of its data."""

from __future__ import annotations

from mmr.config.gate import GateConfig
from mmr.evaluation.measured import DataAge, ServingFigures
from mmr.evaluation.reason import Reason


def serving_rules(figures: ServingFigures, config: GateConfig) -> list[Reason]:
    """Index recall and export decide about harm; latency depends on the machine, so it holds."""
    return [
        Reason(
            "index recall",
            figures.index_recall >= config.min_index_recall,
            f"recall@100 against exact search is {figures.index_recall:.4f} on "
            f"{figures.index_queries} queries, at least {config.min_index_recall} wanted",
            "reject",
        ),
        Reason(
            "export parity",
            figures.parity_distance <= config.max_parity_distance and not figures.parity_changed,
            f"the exported query encoder is at most {figures.parity_distance:.1e} (cosine) from "
            f"the trained one, {config.max_parity_distance:.1e} allowed, and finds other products "
            f"for {figures.parity_changed} of {figures.parity_queries} queries, 0 allowed",
            "reject",
        ),
        _latency("p50", figures.latency_p50_ms, config.max_latency_p50_ms, figures),
        _latency("p99", figures.latency_p99_ms, config.max_latency_p99_ms, figures),
    ]


def _latency(name: str, measured: float, budget: float | None, figures: ServingFigures) -> Reason:
    allowed = "no budget is set" if budget is None else f"the budget is {budget:g} ms"
    return Reason(
        f"latency {name}",
        budget is None or measured <= budget,
        f"encoding one query on this machine takes {measured:.2f} ms ({name} of "
        f"{figures.latency_queries}), {allowed}",
        "hold",
    )


def fresh_data(age: DataAge, config: GateConfig) -> Reason:
    """Data of unknown age passes only where no age is asked for."""
    limit = config.max_data_age_days
    wanted = "no limit is set" if limit is None else f"at most {limit:g} days wanted"
    if age.newest is None or age.days is None:
        return Reason("fresh data", limit is None, f"{age.of}; {wanted}", "hold")
    return Reason(
        "fresh data",
        limit is None or age.days <= limit,
        f"{age.of} is from {age.newest:%Y-%m-%d %H:%M} UTC, {age.days:.1f} days ago; {wanted}",
        "hold",
    )
