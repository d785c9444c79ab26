"""The page of results: what records become, without training anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmr.ablation.ladders import LADDERS
from mmr.ablation.page import END, SETS, START, render_page, write_page
from mmr.ablation.plot import ladder_plot
from mmr.ablation.preset_age import training_settings_hash, with_preset_age
from mmr.config.run import load_settings
from mmr.errors import ArtifactError, ConfigError
from tests.ablation.records import ladder_record

ROOT = Path(__file__).parents[2]


def _stored(workspace: Path, record: dict[str, Any]) -> Path:
    out = workspace / "ablations" / f"{record['ladder']}-{record['dataset']['name']}"
    out.mkdir(parents=True)
    (out / "results.json").write_text(json.dumps(record))
    (out / "plot.svg").write_text(ladder_plot(record))
    return workspace


def test_a_page_shows_what_there_is_and_the_command_for_what_is_missing(tmp_path: Path) -> None:
    workspace = _stored(tmp_path / "w", ladder_record())
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
    write_page([_stored(tmp_path / "a", ladder_record(partial=True))], page, readme=readme)

    text = page.read_text()
    assert "Measured in part" in text
    assert re.search(r"mmr ablate data/home --ladder paper .*--only \S+ --only \S+", text)
    assert "Not measured yet" in readme.read_text()


def test_the_later_workspace_wins_and_a_whole_result_beats_one_in_part(tmp_path: Path) -> None:
    first = _stored(tmp_path / "a", ladder_record(queries=11))
    second = _stored(tmp_path / "b", ladder_record(queries=22))
    partial = _stored(tmp_path / "c", ladder_record(queries=33, partial=True))

    write_page([first, second, partial], tmp_path / "results.md")

    text = (tmp_path / "results.md").read_text()
    assert "22 validation queries" in text
    assert "11 validation" not in text
    assert "33 validation" not in text


def test_what_no_workspace_has_stays_on_the_page_to_the_letter(tmp_path: Path) -> None:
    page, plots = tmp_path / "results.md", tmp_path / "results"
    home = _stored(tmp_path / "a", ladder_record())
    shop = _stored(tmp_path / "b", ladder_record(name="shop"))
    write_page([home, shop], page)
    both = page.read_text()

    assert write_page([], page) == []
    assert page.read_text() == both

    shown = write_page([_stored(tmp_path / "c", ladder_record(queries=55))], page)

    assert shown == ["paper-home"]
    assert page.read_text() == both.replace("97 validation", "55 validation", 1)
    assert {plot.name for plot in plots.iterdir()} == {"paper-home.svg", "paper-shop.svg"}


def test_a_result_in_part_never_replaces_a_whole_one(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write_page([_stored(tmp_path / "a", ladder_record())], page)
    plot = tmp_path / "results" / "paper-home.svg"
    before = page.read_text(), plot.read_text()
    partial = ladder_record(queries=33, partial=True)
    partial["rungs"].pop()

    assert write_page([_stored(tmp_path / "b", partial)], page) == []
    assert (page.read_text(), plot.read_text()) == before

    newer = _stored(tmp_path / "c", ladder_record(queries=44))
    write_page([newer], page)
    assert "44 validation queries" in page.read_text()


def test_a_readme_does_not_lose_a_ladder_that_the_page_still_shows(tmp_path: Path) -> None:
    page, readme = tmp_path / "results.md", tmp_path / "README.md"
    readme.write_text(f"{START}\n{END}\n")
    write_page([_stored(tmp_path / "a", ladder_record())], page, readme=readme)
    before = page.read_text(), readme.read_text()
    other = _stored(tmp_path / "b", ladder_record(name="fashion"))

    with pytest.raises(ConfigError, match="lose the paper ladder of home"):
        write_page([other], page, readme=readme)
    assert (page.read_text(), readme.read_text()) == before


def test_a_set_of_ones_own_gets_a_section_without_the_claim_of_attributes(tmp_path: Path) -> None:
    write_page([_stored(tmp_path / "w", ladder_record(name="shop"))], tmp_path / "results.md")

    section = (tmp_path / "results.md").read_text().split("## shop\n")[1]
    assert "Judgements as imported." in section
    assert "attribute-derived" not in section


def test_the_readme_gets_the_paper_ladder_between_its_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    workspace = _stored(tmp_path / "w", ladder_record())

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
    fresh = _stored(tmp_path / "a", ladder_record(training_settings=today))
    write_page([fresh], page)
    write_page([], page)
    assert older not in page.read_text()

    write_page([_stored(tmp_path / "b", ladder_record(training_settings="0" * 16))], page)
    assert page.read_text().count(older) == 1
    write_page([], page)
    assert page.read_text().count(older) == 1  # kept as it is, told once

    page.write_text(page.read_text().replace("0" * 16, today))
    write_page([], page)
    assert older not in page.read_text()


def test_a_section_of_a_settings_file_tells_nothing_of_its_age(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    write_page([_stored(tmp_path / "a", ladder_record(preset="shop.yaml"))], page)

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
