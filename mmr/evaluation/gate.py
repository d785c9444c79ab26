"""The gate: may this candidate replace what is in production?

- `reject`: a floor is broken, or the candidate is significantly worse, overall or in a slice.
- `promote`: not rejected, and the gain reaches the minimum effect, its interval lies above 0 and
  the permutation test is significant.
- `hold`: everything else: not shown to be worse, not shown to be better, or the very same encoder.

Every rule that was looked at becomes a reason, whether it passed or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmr.config.gate import GateConfig
from mmr.evaluation.comparison import SliceComparison, SystemComparison

Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Reason:
    """One rule of the policy and what came of it.

    Attributes:
        rule: Its name, for example `floor ndcg_at_10`.
        passed: Whether it holds.
        detail: The values behind it, for people.
    """

    rule: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """The decision and all its reasons."""

    decision: Decision
    reasons: list[Reason]


def decide(
    comparison: SystemComparison,
    *,
    metrics: Mapping[str, float],
    same_encoder: bool,
    config: GateConfig,
) -> Verdict:
    """Applies the policy.

    Args:
        comparison: The candidate against the champion, or against the tuned text-only tower.
        metrics: The candidate's means, by metric.
        same_encoder: Whether candidate and reference have the same fingerprint.
        config: The policy.
    """
    must_not_fail = [
        _not_worse(comparison, config),
        *_floors(metrics, config),
        *(_slice_holds(part, config) for part in comparison.slices),
    ]
    better = [_differs(comparison, same_encoder), *_better(comparison, config)]
    if not all(reason.passed for reason in must_not_fail):
        decision: Decision = "reject"
    elif all(reason.passed for reason in better):
        decision = "promote"
    else:
        decision = "hold"
    return Verdict(decision, [*better, *must_not_fail])


def _differs(comparison: SystemComparison, same_encoder: bool) -> Reason:
    detail = (
        f"the encoder is that of {comparison.reference}: there is nothing to promote"
        if same_encoder
        else f"the encoder is not that of {comparison.reference}"
    )
    return Reason("new encoder", not same_encoder, detail)


def _better(comparison: SystemComparison, config: GateConfig) -> list[Reason]:
    primary = comparison.overall[config.primary_metric]
    against = f"{config.primary_metric} against {comparison.reference}"
    interval = f"[{primary.ci_low:+.4f}, {primary.ci_high:+.4f}]"
    return [
        Reason(
            "minimum effect",
            primary.gain >= config.min_effect,
            f"{against}: gain {primary.gain:+.4f}, at least {config.min_effect:+.4f} wanted",
        ),
        Reason(
            "interval above zero",
            primary.ci_low > 0,
            f"{against}: {config.confidence:.0%} interval {interval} of {primary.queries} queries",
        ),
        Reason(
            "significance",
            primary.gain > 0 and primary.p_value < config.max_p,
            f"{against}: p = {primary.p_value:.4f}, below {config.max_p} with a gain wanted",
        ),
    ]


def _not_worse(comparison: SystemComparison, config: GateConfig) -> Reason:
    primary = comparison.overall[config.primary_metric]
    worse = primary.gain < 0 and primary.p_value < config.max_p
    place = "significantly below" if worse else "not significantly below"
    return Reason(
        "not worse",
        not worse,
        f"{config.primary_metric} is {primary.candidate:.4f}, that of {comparison.reference} "
        f"{primary.reference:.4f}: {'above' if primary.gain > 0 else place}",
    )


def _floors(metrics: Mapping[str, float], config: GateConfig) -> list[Reason]:
    return [
        Reason(
            f"floor {name}",
            metrics[name] >= floor,
            f"{name} is {metrics[name]:.4f}, the floor {floor:.4f}",
        )
        for name, floor in config.floors.items()
    ]


def _slice_holds(part: SliceComparison, config: GateConfig) -> Reason:
    rule = f"slice {part.name}"
    gain, queries = part.comparison.gain, part.comparison.queries
    if part.harm_p is None:
        return Reason(
            rule,
            True,
            f"not judged: {queries} queries are fewer than {config.min_slice_queries}",
        )
    harmed = part.harm_p < config.max_p
    return Reason(
        rule,
        not harmed,
        f"{config.primary_metric} gain {gain:+.4f} on {queries} queries; a loss beyond "
        f"{config.slice_margin} is {'shown' if harmed else 'not shown'} (Holm-adjusted "
        f"p = {part.harm_p:.4f})",
    )
