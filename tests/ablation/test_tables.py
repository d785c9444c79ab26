"""Tables and plot of a ladder: what a record becomes, without training anything."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from mmr.ablation import tables
from mmr.ablation.page import render_page
from mmr.ablation.plot import PANELS, ladder_plot
from mmr.evaluation.metrics import METRICS
from tests.ablation.records import ladder_record


def test_stages_that_were_left_out_are_named_with_their_seeds() -> None:
    record = ladder_record()
    assert "Left out" not in tables.markdown(record) + render_page(
        {("paper", "home"): record}, plots="p"
    )

    for training, kept in zip(record["rungs"][1]["training"], (True, False), strict=True):
        training["stages"] = [
            {"stage": "finetune_vision", "kept": kept},
            {"stage": "align_queries", "kept": False},
            {"stage": "train_fusion", "kept": True},
        ]

    line = (
        "Left out, because Recall@10, Recall@100 or NDCG@10 is lower with it: "
        "`align_queries` (seeds 7, 8), `finetune_vision` (seed 8)."
    )
    assert line in tables.markdown(record)
    assert line in render_page({("paper", "home"): record}, plots="p")


def test_concatenations_that_were_drawn_back_are_named_with_seed_and_share() -> None:
    record = ladder_record()
    assert tables.drawn_back_line(record) == ""

    for training, share in zip(record["rungs"][1]["training"], (None, 0.6), strict=True):
        training["stages"] = [{"stage": "train_fusion", "kept": True, "drawn_back": share}]

    line = (
        "Drawn back towards the text, to find no less than the rung below: "
        "+ image | concat (seed 8, 0.60 of it is kept)."
    )
    assert tables.drawn_back_line(record) == line
    assert line in tables.markdown(record)
    assert line in render_page({("paper", "home"): record}, plots="p")


def test_a_gain_is_shown_with_its_interval_and_reference() -> None:
    text = tables.markdown(ladder_record())

    assert "| + image \\| concat | text-only (tuned) | +0.020 [+0.010, +0.030] | < 0.0001 |" in text
    assert "| text-only (tuned) | 0.600 ± 0.004 |" in text
    assert "2 seeds (7, 8)" in text
    assert "kind=colour (40)" in text


def test_a_ladder_out_of_order_says_where_and_in_which_seed() -> None:
    assert tables.order_line(ladder_record()).startswith("In order in every seed")

    broken = tables.order_line(ladder_record(gain=-0.02))
    assert "+ image | concat (seed 7, Recall@10 −0.0200)" in broken
    assert "+ image | concat (seed 7, NDCG@10 −0.0200)" in broken
    assert "(seed 8, NDCG@10 −0.0100)" in broken


def test_every_row_of_a_table_has_a_cell_for_each_title() -> None:
    record = ladder_record()
    for table in (tables.metric_table, tables.gain_table, tables.slice_values, tables.slice_gains):
        titles, rows = table(record)
        assert rows
        assert all(len(row) == len(titles) for row in rows)


def test_the_plot_is_svg_whose_dots_stand_where_the_means_are() -> None:
    record = ladder_record()
    moved = {"mean": 0.7, "sd": None, "ci_low": 0.65, "ci_high": 0.75}
    record["rungs"][1]["metrics"] = dict.fromkeys(METRICS, moved)
    root = ET.fromstring(ladder_plot(record))
    dots = [element for element in root.iter() if element.tag.endswith("circle")]

    assert len(dots) == 2 * len(PANELS)
    low, high = (float(dot.attrib["cx"]) for dot in dots[:2])
    left, right = low - (high - low) * 0.3, high + (high - low) * 0.5  # 0.57 and 0.75
    lines = [e for e in root.iter() if e.tag.endswith("line") and e.attrib["class"] == "grid"]
    assert float(lines[0].attrib["x1"]) == pytest.approx(left, abs=0.05)
    assert float(lines[2].attrib["x1"]) == pytest.approx(right, abs=0.05)


def test_titles_of_the_shop_cannot_break_the_plot() -> None:
    record = ladder_record(name='<script>"&')

    ET.fromstring(ladder_plot(record))
