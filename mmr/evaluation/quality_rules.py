"""Rules of the gate on what the systems find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmr.config.gate import GateConfig, Metric
from mmr.evaluation.comparison import SliceComparison, SystemComparison
from mmr.evaluation.reason import Reason


def new_encoder(comparison: SystemComparison, *, same_encoder: bool) -> Reason:
    """A candidate that is the reference's own encoder has nothing to promote."""
    detail = (
        f"the encoder is that of {comparison.reference}: there is nothing to promote"
        if same_encoder
        else f"the encoder is not that of {comparison.reference}"
    )
    return Reason("new encoder", not same_encoder, detail, "hold")


def champion_scored(reference: str, unscored: str | None) -> list[Reason]:
    """A champion that this mmr cannot run is compared with nobody, and so replaced by no machine.

    Args:
        reference: What the candidate is compared with instead.
        unscored: Why the champion cannot be run; None where it was, or where there is none.
    """
    if unscored is None:
        return []
    detail = f"compared with {reference} instead: {unscored}"
    return [Reason("champion scored", False, detail, "hold")]


def gains_shown(comparison: SystemComparison, config: GateConfig) -> list[Reason]:
    """Effect, interval and significance, of the primary metric and of the further ones."""
    wanted: dict[Metric, float] = {**config.further_effects}
    wanted.pop(config.primary_metric, None)  # its own field decides
    reasons = _gain_shown(
        comparison, config.primary_metric, "", min_effect=config.min_effect, config=config
    )
    for metric, effect in wanted.items():
        reasons += _gain_shown(comparison, metric, f" {metric}", min_effect=effect, config=config)
    return reasons


def _gain_shown(
    comparison: SystemComparison,
    metric: Metric,
    suffix: str,
    *,
    min_effect: float,
    config: GateConfig,
) -> list[Reason]:
    found = comparison.overall[metric]
    against = f"{metric} against {comparison.reference}"
    interval = f"[{found.ci_low:+.4f}, {found.ci_high:+.4f}]"
    return [
        Reason(
            f"minimum effect{suffix}",
            found.gain >= min_effect,
            f"{against}: gain {found.gain:+.4f}, at least {min_effect:+.4f} wanted",
            "hold",
        ),
        Reason(
            f"interval above zero{suffix}",
            found.ci_low > 0,
            f"{against}: {config.confidence:.0%} interval {interval} of {found.queries} queries",
            "hold",
        ),
        Reason(
            f"significance{suffix}",
            found.gain > 0 and found.p_value < config.max_p,
            f"{against}: p = {found.p_value:.4f}, below {config.max_p} with a gain wanted",
            "hold",
        ),
    ]


def not_worse(comparison: SystemComparison, config: GateConfig) -> Reason:
    """No significant loss in the primary metric."""
    primary = comparison.overall[config.primary_metric]
    worse = primary.gain < 0 and primary.p_value < config.max_p
    place = "significantly below" if worse else "not significantly below"
    return Reason(
        "not worse",
        not worse,
        f"{config.primary_metric} is {primary.candidate:.4f}, that of {comparison.reference} "
        f"{primary.reference:.4f}: {'above' if primary.gain > 0 else place}",
        "reject",
    )


def floors(metrics: Mapping[str, float], config: GateConfig) -> list[Reason]:
    """The candidate's own means, whatever the reference has."""
    return [
        Reason(
            f"floor {name}",
            metrics[name] >= floor,
            f"{name} is {metrics[name]:.4f}, the floor {floor:.4f}",
            "reject",
        )
        for name, floor in config.floors.items()
    ]


def slices_hold(comparison: SystemComparison, config: GateConfig) -> list[Reason]:
    """No slice loses more than its margin; a margin for a slice that is not there holds."""
    present = {part.name for part in comparison.slices}
    reasons = [reason for part in comparison.slices for reason in _slice_holds(part, config)]
    return reasons + [
        Reason(
            f"slice {name}",
            False,
            f"slice_margins names it, but the evaluation has no such slice: it has "
            f"{', '.join(sorted(present)) or 'none'}",
            "hold",
        )
        for name in config.slice_margins
        if name not in present
    ]


def _slice_holds(part: SliceComparison, config: GateConfig) -> list[Reason]:
    rule = f"slice {part.name}"
    gain, queries = part.comparison.gain, part.comparison.queries
    if part.harm_p is None or part.proof_p is None:
        detail = f"not judged: {queries} queries are fewer than {config.min_slice_queries}"
        return [Reason(rule, True, detail, "reject")]
    harmed = part.harm_p < config.max_p
    said = f"{config.primary_metric} gain {gain:+.4f} on {queries} queries"
    reasons = [
        Reason(
            rule,
            not harmed,
            f"{said}; a loss beyond {part.margin} is {'shown' if harmed else 'not shown'} "
            f"(Holm-adjusted p = {part.harm_p:.4f})",
            "reject",
        )
    ]
    if config.prove_slices:
        proven = part.proof_p < config.max_p
        reasons.append(
            Reason(
                f"{rule} proven",
                proven,
                f"{said}; that the loss is below {part.margin} is "
                f"{'proven' if proven else 'not proven'} "
                f"(Holm-adjusted p = {part.proof_p:.4f})",
                "hold",
            )
        )
    return reasons


def few_regressions(gains: Sequence[float], config: GateConfig) -> Reason:
    """How many single queries lose a lot, whatever the mean does."""
    count = sum(gain < -config.regression_margin for gain in gains)
    allowed = "any number" if config.max_regressions is None else f"{config.max_regressions}"
    return Reason(
        "regressions",
        config.max_regressions is None or count <= config.max_regressions,
        f"{count} of {len(gains)} queries lose more than {config.regression_margin} "
        f"{config.primary_metric}, {allowed} may",
        "hold",
    )
