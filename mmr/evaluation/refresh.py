"""May a catalogue embedded by the same encoder replace that of the champion?

Nothing was trained, so nothing has to be better; every rule asks that nothing got lost. Each
becomes a reason, whether it passed or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmr.config.refresh import RefreshConfig
from mmr.evaluation.reason import Reason
from mmr.evaluation.significance import PairedComparison
from mmr.types import Coverage

MAX_SCORE_CHANGE = 1e-4  # of an unchanged product; its vector is the same, byte for byte


@dataclass(frozen=True)
class GoldenAnswers:
    """How the golden queries of the champion are answered now.

    Attributes:
        queries: How many there are.
        unchanged: Recorded products, over all queries, whose content is as it was.
        max_score_change: Largest difference between the recorded score of one and that of now.
        mean_overlap: Share of the recorded products, those that are gone left out, that are still
            among the first ten; mean over the queries that have any.
    """

    queries: int
    unchanged: int
    max_score_change: float
    mean_overlap: float


def refresh_reasons(
    *,
    removed_share: float,
    coverage: tuple[Coverage, Coverage],
    recall: tuple[float, float],
    golden: GoldenAnswers,
    judged: PairedComparison | None,
    config: RefreshConfig,
) -> list[Reason]:
    """Applies the policy of a refresh.

    Args:
        removed_share: Share of the champion's products that are gone.
        coverage: Of the champion's index, and of the new one.
        recall: Recall@100 against exact search, likewise.
        golden: The answers to the champion's golden queries.
        judged: New against old in the primary metric; None where no query is judged.
        config: The policy.
    """
    return [
        _rule(
            "removed products",
            removed_share <= config.max_removed_share,
            f"{removed_share:.2%} of the champion's products are gone, allowed are "
            f"{config.max_removed_share:.2%}",
        ),
        *_coverage(*coverage, config),
        _recall(*recall, config),
        _scores_kept(golden),
        _rule(
            "golden queries",
            golden.mean_overlap >= config.min_golden_overlap,
            f"{golden.mean_overlap:.0%} of the champion's answers to {golden.queries} queries are "
            f"still among the first ten, at least {config.min_golden_overlap:.0%} wanted",
        ),
        _judged(judged, config),
    ]


def _coverage(before: Coverage, after: Coverage, config: RefreshConfig) -> list[Reason]:
    parts = {
        "text": (before.with_text, after.with_text),
        "image": (before.with_image, after.with_image),
    }
    reasons = []
    for name, (had, has) in parts.items():
        old, new = had / before.products, has / after.products
        reasons.append(
            _rule(
                f"products with {name}",
                old - new <= config.max_coverage_drop,
                f"{new:.2%} of the products have one, of the champion's {old:.2%}; the share may "
                f"fall by {config.max_coverage_drop:.2%}",
            )
        )
    return reasons


def _recall(before: float, after: float, config: RefreshConfig) -> Reason:
    return _rule(
        "index recall",
        before - after <= config.max_recall_drop,
        f"recall@100 against exact search is {after:.4f}, the champion's {before:.4f}; it may fall "
        f"by {config.max_recall_drop}",
    )


def _scores_kept(golden: GoldenAnswers) -> Reason:
    return _rule(
        "unchanged products",
        golden.max_score_change <= MAX_SCORE_CHANGE,
        f"scores of {golden.unchanged} answers that did not change differ by at most "
        f"{golden.max_score_change:.1e}, allowed is {MAX_SCORE_CHANGE:.0e}",
    )


def _judged(judged: PairedComparison | None, config: RefreshConfig) -> Reason:
    rule = "judged queries"
    if judged is None or judged.queries < config.min_judged_queries:
        queries = 0 if judged is None else judged.queries
        return _rule(
            rule,
            True,
            f"not judged: {queries} judged queries are fewer than {config.min_judged_queries}",
        )
    return _rule(
        rule,
        judged.ci_low > -config.metric_margin,
        f"{config.primary_metric} is {judged.candidate:.4f}, the champion's "
        f"{judged.reference:.4f}: change {judged.gain:+.4f}, {config.confidence:.0%} interval "
        f"[{judged.ci_low:+.4f}, {judged.ci_high:+.4f}] on {judged.queries} queries, which must "
        f"lie above {-config.metric_margin:+.4f}",
    )


def _rule(name: str, passed: bool, detail: str) -> Reason:
    return Reason(name, passed, detail, "reject")


def refused(reasons: Sequence[Reason]) -> list[Reason]:
    """The rules that do not hold."""
    return [reason for reason in reasons if not reason.passed]
