"""The gate: may this candidate replace what is in production?

- `reject`: harm is shown. A floor is broken, the candidate is significantly worse, overall or in a
  slice, or it would not serve what was measured (index recall, export).
- `hold`: no harm, and yet not all that a promotion needs: no gain shown, the very same encoder,
  too many queries that regress, too slow on this machine, data too old. A person decides.
- `promote`: every rule holds.

Every rule that was looked at becomes a reason, whether it passed or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmr.config.gate import GateConfig
from mmr.evaluation import quality_rules, serving_rules
from mmr.evaluation.comparison import SystemComparison
from mmr.evaluation.measured import Measured
from mmr.evaluation.reason import Decision, Reason


@dataclass(frozen=True)
class Verdict:
    """The decision and all its reasons."""

    decision: Decision
    reasons: list[Reason]


def decide(
    comparison: SystemComparison,
    *,
    metrics: Mapping[str, float],
    gains: Sequence[float],
    same_encoder: bool,
    unscored_champion: str | None = None,
    measured: Measured,
    config: GateConfig,
) -> Verdict:
    """Applies the policy.

    Args:
        comparison: The candidate against the champion, or against the tuned text-only tower.
        metrics: The candidate's means, by metric.
        gains: Of every query, in the primary metric.
        same_encoder: Whether candidate and reference have the same fingerprint.
        unscored_champion: Why the champion cannot be run by this mmr, where that is so.
        measured: How the candidate will serve, and the age of the data.
        config: The policy.
    """
    reasons = [
        quality_rules.new_encoder(comparison, same_encoder=same_encoder),
        *quality_rules.champion_scored(comparison.reference, unscored_champion),
        *quality_rules.gains_shown(comparison, config),
        quality_rules.not_worse(comparison, config),
        *quality_rules.floors(metrics, config),
        *quality_rules.slices_hold(comparison, config),
        quality_rules.few_regressions(gains, config),
        *serving_rules.serving_rules(measured.serving, config),
        serving_rules.fresh_data(measured.data_age, config),
    ]
    failed = {reason.otherwise for reason in reasons if not reason.passed}
    if "reject" in failed:
        return Verdict("reject", reasons)
    return Verdict("hold" if failed else "promote", reasons)
