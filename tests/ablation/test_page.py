"""Tables, plot and page: what a record becomes, without training anything."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from mmr.ablation import tables
from mmr.ablation.ladders import LADDERS
from mmr.ablation.page import END, SETS, START, render_page, write_page
from mmr.ablation.plot import PANELS, ladder_plot
from mmr.ablation.preset_age import training_settings_hash, with_preset_age
from mmr.config.run import load_settings
from mmr.errors import ArtifactError, ConfigError
from mmr.evaluation.metrics import METRICS

ROOT = Path(__file__).parents[2]


def _compared(gain: float, reference: str) -> dict[str, Any]:
    pair = {"gain": gain, "ci_low": gain - 0.01, "ci_high": gain + 0.01, "p_value": 0.00001}
    return {
        "reference": reference,
        "overall": dict.fromkeys(METRICS, pair),
        "slices": {"kind=colour": pair},
        "gain_by_seed": {metric: [gain, gain / 2] for metric in METRICS},
    }


def _record(*, gain: float = 0.02, name: str = "home", **more: Any) -> dict[str, Any]:
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


def test_stages_that_were_left_out_are_named_with_their_seeds() -> None:
    record = _record()
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
        "Left out, because validation queries are answered better without it: "
        "`align_queries` (seeds 7, 8), `finetune_vision` (seed 8)."
    )
    assert line in tables.markdown(record)
    assert line in render_page({("paper", "home"): record}, plots="p")


def test_concatenations_that_were_drawn_back_are_named_with_seed_and_share() -> None:
    record = _record()
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


def _stored(workspace: Path, record: dict[str, Any]) -> Path:
    out = workspace / "ablations" / f"{record['ladder']}-{record['dataset']['name']}"
    out.mkdir(parents=True)
    (out / "results.json").write_text(json.dumps(record))
    (out / "plot.svg").write_text(ladder_plot(record))
    return workspace


def test_a_gain_is_shown_with_its_interval_and_reference() -> None:
    text = tables.markdown(_record())

    assert "| + image \\| concat | text-only (tuned) | +0.020 [+0.010, +0.030] | < 0.0001 |" in text
    assert "| text-only (tuned) | 0.600 ± 0.004 |" in text
    assert "2 seeds (7, 8)" in text
    assert "kind=colour (40)" in text


def test_a_ladder_out_of_order_says_where_and_in_which_seed() -> None:
    assert tables.order_line(_record()).startswith("In order in every seed")

    broken = tables.order_line(_record(gain=-0.02))
    assert "+ image | concat (seed 7, Recall@10 −0.0200)" in broken
    assert "+ image | concat (seed 7, NDCG@10 −0.0200)" in broken
    assert "(seed 8, NDCG@10 −0.0100)" in broken


def test_every_row_of_a_table_has_a_cell_for_each_title() -> None:
    record = _record()
    for table in (tables.metric_table, tables.gain_table, tables.slice_values, tables.slice_gains):
        titles, rows = table(record)
        assert rows
        assert all(len(row) == len(titles) for row in rows)


def test_the_plot_is_svg_whose_dots_stand_where_the_means_are() -> None:
    record = _record()
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
    record = _record(name='<script>"&')

    ET.fromstring(ladder_plot(record))


def test_a_page_shows_what_there_is_and_the_command_for_what_is_missing(tmp_path: Path) -> None:
    workspace = _stored(tmp_path / "w", _record())
    out = tmp_path / "docs" / "results.md"

    shown = write_page([workspace], out)

    text = out.read_text()
    assert shown == ["paper-home"]
    assert "mmr ablate data/home --ladder paper --seeds 2 --seed 7 --preset laptop" in text
    assert "![paper on home](results/paper-home.svg)" in text
    assert (tmp_path / "docs" / "results" / "paper-home.svg").is_file()
    assert text.count("Not measured yet") == len(LADDERS) * len(SETS) - 1
    assert text.count("attribute-derived") >= 3
    assert "validation" in text


def test_a_ladder_measured_in_part_says_so_and_names_its_rungs(tmp_path: Path) -> None:
    page, readme = tmp_path / "results.md", tmp_path / "README.md"
    readme.write_text(f"{START}\n{END}\n")
    write_page([_stored(tmp_path / "a", _record(partial=True))], page, readme=readme)

    text = page.read_text()
    assert "Measured in part" in text
    assert re.search(r"mmr ablate data/home --ladder paper .*--only \S+ --only \S+", text)
    assert "Not measured yet" in readme.read_text()


def test_the_later_workspace_wins_and_a_whole_result_beats_one_in_part(tmp_path: Path) -> None:
    first = _stored(tmp_path / "a", _record(queries=11))
    second = _stored(tmp_path / "b", _record(queries=22))
    partial = _stored(tmp_path / "c", _record(queries=33, partial=True))

    write_page([first, second, partial], tmp_path / "results.md")

    text = (tmp_path / "results.md").read_text()
    assert "22 validation queries" in text
    assert "11 validation" not in text
    assert "33 validation" not in text


def test_what_no_workspace_has_stays_on_the_page_to_the_letter(tmp_path: Path) -> None:
    page, plots = tmp_path / "results.md", tmp_path / "results"
    home = _stored(tmp_path / "a", _record())
    shop = _stored(tmp_path / "b", _record(name="shop"))
    write_page([home, shop], page)
    both = page.read_text()

    assert write_page([], page) == []
    assert page.read_text() == both

    shown = write_page([_stored(tmp_path / "c", _record(queries=55))], page)

    assert shown == ["paper-home"]
    assert page.read_text() == both.replace("97 validation", "55 validation", 1)
    assert {plot.name for plot in plots.iterdir()} == {"paper-home.svg", "paper-shop.svg"}


def test_a_result_in_part_never_replaces_a_whole_one(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write_page([_stored(tmp_path / "a", _record())], page)
    plot = tmp_path / "results" / "paper-home.svg"
    before = page.read_text(), plot.read_text()
    partial = _record(queries=33, partial=True)
    partial["rungs"].pop()

    assert write_page([_stored(tmp_path / "b", partial)], page) == []
    assert (page.read_text(), plot.read_text()) == before

    newer = _stored(tmp_path / "c", _record(queries=44))
    write_page([newer], page)
    assert "44 validation queries" in page.read_text()


def test_a_readme_does_not_lose_a_ladder_that_the_page_still_shows(tmp_path: Path) -> None:
    page, readme = tmp_path / "results.md", tmp_path / "README.md"
    readme.write_text(f"{START}\n{END}\n")
    write_page([_stored(tmp_path / "a", _record())], page, readme=readme)
    before = page.read_text(), readme.read_text()
    other = _stored(tmp_path / "b", _record(name="fashion"))

    with pytest.raises(ConfigError, match="lose the paper ladder of home"):
        write_page([other], page, readme=readme)
    assert (page.read_text(), readme.read_text()) == before


def test_a_set_of_ones_own_gets_a_section_without_the_claim_of_attributes(tmp_path: Path) -> None:
    write_page([_stored(tmp_path / "w", _record(name="shop"))], tmp_path / "results.md")

    section = (tmp_path / "results.md").read_text().split("## shop\n")[1]
    assert "Judgements as imported." in section
    assert "attribute-derived" not in section


def test_the_readme_gets_the_paper_ladder_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    workspace = _stored(tmp_path / "w", _record())

    write_page([workspace], tmp_path / "docs" / "results.md", readme=readme)

    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| home furnishing | text-only (tuned) | 0.600 ± 0.004 |" in text
    assert "[docs/results.md](docs/results.md)" in text
    once = text
    write_page([workspace], tmp_path / "docs" / "results.md", readme=readme)
    assert readme.read_text() == once


def test_a_readme_without_markers_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing to replace\n")

    with pytest.raises(ConfigError, match="markers"):
        write_page([], tmp_path / "results.md", readme=readme)
    assert readme.read_text() == "nothing to replace\n"


@pytest.mark.parametrize(
    ("content", "told"), [("{", "damaged"), ("{}", "damaged"), ('{"format_version": 99}', "99")]
)
def test_a_result_that_cannot_be_read_is_named(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "ablations" / "paper-home" / "results.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)

    with pytest.raises(ArtifactError, match=rf"results\.json.*{told}"):
        write_page([tmp_path], tmp_path / "results.md")


def test_the_page_in_the_docs_has_the_sections_and_text_that_the_command_writes() -> None:
    committed = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    empty = render_page({}, plots="results")

    def frame(text: str) -> list[str]:
        return re.findall(r"^#+ .*$", text, re.MULTILINE)

    assert [line for line in frame(empty) if line not in frame(committed)] == []
    assert committed.startswith(empty.split("\n## ")[0])


def test_a_section_says_so_once_its_preset_has_changed(tmp_path: Path) -> None:
    page, older = tmp_path / "results.md", "Measured before the preset became what it is now"
    today = training_settings_hash(load_settings("laptop"))
    fresh = _stored(tmp_path / "a", _record(training_settings=today))
    write_page([fresh], page)
    write_page([], page)
    assert older not in page.read_text()

    write_page([_stored(tmp_path / "b", _record(training_settings="0" * 16))], page)
    assert page.read_text().count(older) == 1
    write_page([], page)
    assert page.read_text().count(older) == 1  # kept as it is, told once

    page.write_text(page.read_text().replace("0" * 16, today))
    write_page([], page)
    assert older not in page.read_text()


def test_a_section_of_a_settings_file_tells_nothing_of_its_age(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write_page([_stored(tmp_path / "a", _record(preset="shop.yaml"))], page)

    assert "Measured before" not in page.read_text()


def test_the_age_of_a_preset_is_of_what_trains_and_no_seed() -> None:
    laptop = load_settings("laptop")
    other_gate = laptop.gate.model_copy(update={"confidence": 0.9})

    assert training_settings_hash(laptop) == training_settings_hash(
        laptop.model_copy(update={"seed": 99, "gate": other_gate})
    )
    slower = laptop.vision.model_copy(update={"batch_size": 3})
    assert training_settings_hash(laptop) != training_settings_hash(
        laptop.model_copy(update={"vision": slower})
    )


def test_the_page_in_the_docs_says_which_ladders_are_of_an_earlier_preset() -> None:
    committed = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")

    for section in re.split(r"^(?=##)", committed, flags=re.MULTILINE):
        if "Not measured yet." not in section:
            assert with_preset_age(section) == section


def test_the_readme_has_a_place_for_the_ladder() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert text.count(START) == text.count(END) == 1
    assert text.index(START) < text.index(END)
