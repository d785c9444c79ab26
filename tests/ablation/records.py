"""A ladder's record without any training."""

from __future__ import annotations

from typing import Any

from mmr.evaluation.metrics import METRICS


def _compared(gain: float, reference: str) -> dict[str, Any]:
    pair = {"gain": gain, "ci_low": gain - 0.01, "ci_high": gain + 0.01, "p_value": 0.00001}
    return {
        "reference": reference,
        "overall": dict.fromkeys(METRICS, pair),
        "slices": {"kind=colour": pair},
        "gain_by_seed": {metric: [gain, gain / 2] for metric in METRICS},
    }


def ladder_record(*, gain: float = 0.02, name: str = "home", **more: Any) -> dict[str, Any]:
    """What a paper ladder of two rungs and two seeds leaves, as if it had been climbed."""

    def rung(rung_name: str, title: str, mean: float, against: Any) -> dict[str, Any]:
        summary = {"mean": mean, "sd": 0.004, "ci_low": mean - 0.03, "ci_high": mean + 0.03}
        return {
            "name": rung_name,
            "title": title,
            "description": f"what {title} is",
            "training": [{"seed": seed, "stages": []} for seed in (7, 8)],
            "metrics": dict.fromkeys(METRICS, summary),
            "slices": {"kind=colour": {**dict.fromkeys(METRICS, mean), "count": 40}},
            "against": against,
            "against_text_only": against,
        }

    return {
        "format_version": 1,
        "ladder": "paper",
        "question": "What?",
        "ascending": True,
        "partial": False,
        "dataset": {"name": name, "content_hash": "c" * 64, "products": 2187},
        "split": "validation",
        "queries": 97,
        "preset": "laptop",
        "seeds": [7, 8],
        "primary_metric": "ndcg_at_10",
        "confidence": 0.95,
        "min_slice_queries": 20,
        "slices": {"kind=colour": {"meaning": "queries of kind colour", "queries": 40}},
        "rungs": [
            rung("text-only", "text-only (tuned)", 0.6, None),
            rung("image", "+ image | concat", 0.62, _compared(gain, "text-only")),
        ],
        **more,
    }
