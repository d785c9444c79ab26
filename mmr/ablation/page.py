"""The page `docs/results.md`: all ladders on the sets that the project is measured on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr.ablation import tables
from mmr.ablation.ladders import LADDERS
from mmr.ablation.preset_age import settings_mark, with_preset_age
from mmr.ablation.record import FORMAT_VERSION, results_name
from mmr.atomic import write_text
from mmr.errors import ArtifactError, ConfigError

_SECTION = re.compile(r"^### (?P<title>.+): (?P<ladder>[a-z-]+)\n\n[^\n]*\n\n", re.MULTILINE)
_NOT_MEASURED, _IN_PART = "Not measured yet.", "Measured in part:"
START, END = "<!-- ladder: start -->", "<!-- ladder: end -->"


@dataclass(frozen=True)
class ShownSet:
    """A data set with a section of its own.

    Attributes:
        name: As its manifest has it.
        title: For people.
        nature: Where its relevance comes from.
    """

    name: str
    title: str
    nature: str


SETS = (
    ShownSet(
        "home",
        "Home furnishing",
        "real products and photographs; **attribute-derived** relevance, validation queries",
    ),
    ShownSet(
        "fashion",
        "Fashion",
        "real products and photographs; **attribute-derived** relevance, validation queries",
    ),
)
_INTRODUCTION = """# Results

What each part brings, measured. This page is written by `mmr results`; change its text in
`mmr/ablation/page.py`.

- Every query is ranked against the whole catalogue ([evaluation.md](evaluation.md)). All figures
  are of **validation** queries, which also chose each stage's best step and the presets' settings:
  they flatter, and an interval close to 0 proves little.
- Relevance of home and fashion is **attribute-derived**: a product answers `white wardrobe` when
  the shop's own attributes say white and wardrobe. No human judged it. The two sets may not be
  redistributed and are not part of this project.
- Intervals and tests are paired over queries; with several seeds, over each query's mean.
  “Text-only” is always the *tuned* text-only tower of the same seed.
- A command that was killed goes on where it stopped when it is given again. `data/home` and
  `data/fashion` stand for the prepared datasets.
"""


def write_page(workspaces: Sequence[Path], out: Path, *, readme: Path | None = None) -> list[str]:
    """Renders the results that some workspaces hold; what else the page shows stays on it.

    Args:
        workspaces: Directories with `ablations/`; of two results of one ladder and set, the one of
            the later workspace is shown, and one in part only where there is none of the whole.
        out: The Markdown page; plots go to a directory of the same name beside it.
        readme: A file whose part between `START` and `END` becomes the paper ladder.

    Returns:
        What is shown, as `ladder-set`.

    Raises:
        ArtifactError: A result cannot be read.
        ConfigError: `readme` lacks the markers, or would lose a ladder that none of the workspaces
            has.
    """
    found: dict[tuple[str, str], tuple[dict[str, Any], Path]] = {}
    for workspace in workspaces:
        for file in sorted(workspace.glob("ablations/*/results.json")):
            record = _read(file)
            place = record["ladder"], record["dataset"]["name"]
            if not record["partial"] or place not in found or found[place][0]["partial"]:
                found[place] = (record, file.parent)
    records = {key: record for key, (record, _) in found.items()}
    kept = _kept_sections(out, records)
    if readme is not None:
        _check_readme(readme, kept)
    plots = out.with_suffix("")
    for (ladder, name), (_, directory) in found.items():
        if (ladder, name) in kept:
            continue
        plot = (directory / "plot.svg").read_text(encoding="utf-8")
        write_text(plots / f"{results_name(ladder, name)}.svg", plot)
    write_text(out, render_page(records, plots=plots.name, kept=kept))
    if readme is not None:
        target = os.path.relpath(out, readme.parent)
        write_text(readme, with_ladder(readme, paper_ladder(records, page=target)))
    return [f"{ladder}-{name}" for ladder, name in found if (ladder, name) not in kept]


def _kept_sections(
    page: Path, records: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """What a page shows already and no workspace has, or has in part only, by ladder and set."""
    if not page.is_file():
        return {}
    names = {shown.title: shown.name for shown in SETS}
    kept = {}
    for part in re.split(r"^(?=##)", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
        heading = _SECTION.match(part)
        if heading is None or part.startswith(_NOT_MEASURED, heading.end()):
            continue
        place = heading["ladder"], names.get(heading["title"], heading["title"])
        record = records.get(place)
        if record is None or (record["partial"] and _IN_PART not in part):
            kept[place] = part[heading.end() :].rstrip("\n") + "\n"
    return kept


def _check_readme(readme: Path, kept: Mapping[tuple[str, str], str]) -> None:
    lost = sorted(name for ladder, name in kept if ladder == "paper")
    if lost:
        raise ConfigError(
            f"{readme} would lose the paper ladder of {', '.join(lost)}: none of the workspaces "
            "has it whole. Give the one that does too, or leave out --readme."
        )


def render_page(
    records: Mapping[tuple[str, str], Mapping[str, Any]],
    *,
    plots: str,
    kept: Mapping[tuple[str, str], str] | None = None,
) -> str:
    """The page.

    Args:
        records: Results by ladder and set.
        plots: Directory of the plots, relative to the page.
        kept: Sections that stay as they are, by ladder and set.
    """
    parts, kept = [_INTRODUCTION], kept or {}
    known = {shown.name for shown in SETS}
    others = sorted({name for _, name in [*records, *kept] if name not in known})
    for shown in (*SETS, *(ShownSet(name, name, "judgements as imported") for name in others)):
        parts.append(f"## {shown.title}\n\n{_capital(shown.nature)}.\n")
        for ladder in LADDERS.values():
            place = ladder.name, shown.name
            record = records.get(place)
            if record is not None or place in kept or shown in SETS:
                parts.append(f"### {shown.title}: {ladder.name}\n\n{ladder.question}\n")
                section = kept.get(place)
                section = section or _section(record, ladder.name, shown.name, plots=plots)
                measured = not section.startswith(_NOT_MEASURED)
                parts.append(with_preset_age(section) if measured else section)
    return "\n".join(parts)


def _section(record: Mapping[str, Any] | None, ladder: str, name: str, *, plots: str) -> str:
    if record is None:
        return f"{_NOT_MEASURED}\n\n{_command(name, ladder=ladder, seeds=3, preset='laptop')}"
    primary = tables.METRIC_TITLES[record["primary_metric"]]
    seeds = record["seeds"]
    parts = [
        _command(
            name,
            ladder=ladder,
            seeds=len(seeds),
            preset=record["preset"],
            first=seeds[0],
            only=[rung["name"] for rung in record["rungs"]] if record["partial"] else (),
        ),
        settings_mark(record["training_settings"]) if "training_settings" in record else "",
        f"{_IN_PART} some rungs of this ladder are missing.\n" if record["partial"] else "",
        f"{record['dataset']['products']:,} products, {record['queries']:,} {record['split']} "
        f"queries, {tables.seed_words(seeds)}. {tables.reading(record)}\n",
        tables.markdown_table(*tables.metric_table(record)) + "\n",
        tables.markdown_table(*tables.gain_table(record)) + "\n",
        *(f"{line}\n" for line in tables.remarks(record)),
        f"![{record['ladder']} on {name}]({plots}/{results_name(ladder, name)}.svg)\n",
        f"<details><summary>{primary} by slice (queries), and the gains there</summary>\n",
        tables.markdown_table(*tables.slice_values(record)) + "\n",
        "Gain over what the rung is compared with:\n",
        tables.markdown_table(*tables.slice_gains(record)) + "\n",
        "Gain over the tuned text-only tower:\n",
        tables.markdown_table(*tables.slice_gains(record, over="against_text_only")) + "\n",
        *(f"- `{name}`: {part['meaning']}" for name, part in record["slices"].items()),
        "\n</details>\n",
        *(f"- **{rung['title']}**: {rung['description']}" for rung in record["rungs"]),
        "",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _command(
    name: str,
    *,
    ladder: str,
    seeds: int,
    preset: str,
    first: int | None = None,
    only: Sequence[str] = (),
) -> str:
    start = "" if first is None else f" --seed {first}"
    rungs = "".join(f" --only {rung}" for rung in only)
    return (
        f"```bash\nmmr ablate data/{name} --ladder {ladder} --seeds {seeds}{start} "
        f"--preset {preset}{rungs}\n```\n"
    )


def paper_ladder(records: Mapping[tuple[str, str], Mapping[str, Any]], *, page: str) -> str:
    """The paper ladder on all sets, short: what the README shows."""
    titles = ["catalogue", "rung", "Recall@10", "Recall@100", "NDCG@10", "gain over the rung below"]
    rows: list[list[str]] = []
    for shown in SETS:
        record = records.get(("paper", shown.name))
        rungs = record["rungs"] if record and not record["partial"] else []
        for place, rung in enumerate(rungs):
            metrics = [
                tables.with_spread(rung["metrics"][metric])
                for metric in ("recall_at_10", "recall_at_100", "ndcg_at_10")
            ]
            below = rung["against"]
            gained = tables.gain(below["overall"]["ndcg_at_10"]) if below else ""
            name = "" if place else shown.title.lower()
            rows.append([name, rung["title"], *metrics, gained])
    if not rows:
        return f"Not measured yet; [{page}]({page}) has the commands."
    return tables.markdown_table(titles, rows) + f"\n\nMore, with the commands: [{page}]({page})."


def with_ladder(readme: Path, text: str) -> str:
    """The content of a file with the part between the markers replaced.

    Raises:
        ConfigError: The markers are not there, in this order.
    """
    content = readme.read_text(encoding="utf-8")
    start, end = content.find(START), content.find(END)
    if start < 0 or end < start:
        raise ConfigError(f"{readme} lacks the markers {START} and {END}. Put them where it goes.")
    return f"{content[: start + len(START)]}\n{text}\n{content[end:]}"


def _read(file: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = record["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file} is damaged. Give its `mmr ablate` again.") from error
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{file} has format {version}, but this mmr reads {FORMAT_VERSION}. Give its "
            "`mmr ablate` again; what is trained is reused."
        )
    return record


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
