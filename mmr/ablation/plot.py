"""The plot of a ladder: each rung's mean and interval in three metrics, as SVG that needs nothing.

Hand-written, because a dot, a line and a label a rung need no plotting library, and the same
results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mmr.ablation.tables import METRIC_TITLES

PANELS = ("recall_at_10", "recall_at_100", "ndcg_at_10")
_LABELS, _PANEL, _GAP, _ROW = 230, 220, 24, 30
_TOP, _BOTTOM, _MARGIN = 46, 46, 10
_STYLE = """
text{font:13px system-ui,sans-serif;fill:#1f2328}
.minor{font-size:11px;fill:#59636e}
.grid{stroke:#d1d9e0}.line{stroke:#0969da;stroke-width:2}.dot{fill:#0969da}.page{fill:#fff}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.minor{fill:#9198a1}.grid{stroke:#3d444d}
.line{stroke:#4493f8}.dot{fill:#4493f8}.page{fill:#0d1117}}
"""


def ladder_plot(record: Mapping[str, Any]) -> str:
    """Draws the ladder: rungs from top to bottom, one panel a metric with a scale of its own."""
    rungs = record["rungs"]
    width = _MARGIN * 2 + _LABELS + len(PANELS) * (_PANEL + _GAP)
    height = _TOP + _ROW * len(rungs) + _BOTTOM
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(_caption(record), quote=True)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    for row, rung in enumerate(rungs):
        body.append(_text(_MARGIN, _row(row) + 4, rung["title"]))
    for place, metric in enumerate(PANELS):
        left = _MARGIN + _LABELS + place * (_PANEL + _GAP)
        body += _panel([rung["metrics"][metric] for rung in rungs], metric, left)
    body.append(_text(_MARGIN, height - 8, _caption(record), "minor"))
    return "\n".join([*body, "</svg>"]) + "\n"


def _panel(metrics: Sequence[Mapping[str, float]], metric: str, left: float) -> list[str]:
    low = min(entry["ci_low"] for entry in metrics)
    high = max(entry["ci_high"] for entry in metrics)
    reach = max(high - low, 1e-6)
    bottom = _TOP + _ROW * len(metrics)

    def x(value: float) -> float:
        return round(left + 14 + (_PANEL - 28) * (value - low) / reach, 2)

    parts = [_text(left + 14, _TOP - 22, METRIC_TITLES[metric])]
    for value in (low, (low + high) / 2, high):
        parts.append(
            f'<line class="grid" x1="{x(value)}" y1="{_TOP - 8}" x2="{x(value)}" y2="{bottom}"/>'
        )
        parts.append(_text(x(value), bottom + 14, f"{value:.3f}", "minor", anchor="middle"))
    for row, entry in enumerate(metrics):
        y = _row(row)
        parts.append(
            f'<line class="line" x1="{x(entry["ci_low"])}" y1="{y}" '
            f'x2="{x(entry["ci_high"])}" y2="{y}"/>'
        )
        parts.append(
            f'<circle class="dot" cx="{x(entry["mean"])}" cy="{y}" r="4.5">'
            f"<title>{entry['mean']:.4f}</title></circle>"
        )
    return parts


def _row(row: int) -> float:
    return _TOP + _ROW * (row + 0.5)


def _text(x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _caption(record: Mapping[str, Any]) -> str:
    return (
        f"{record['ladder']} on {record['dataset']['name']}: mean and {record['confidence']:.0%} "
        f"interval over {record['queries']:,} {record['split']} queries, "
        f"{len(record['seeds'])} seed{'s'[: len(record['seeds']) > 1]}"
    )
