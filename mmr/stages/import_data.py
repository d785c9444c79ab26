"""The import step: a shop's feed, or the generated showroom, becomes a dataset."""

from __future__ import annotations

from pathlib import Path

from mmr.atomic import new_directory
from mmr.config.data import ImportConfig
from mmr.data.dataset import Dataset
from mmr.data.importing import ImportReport, import_feed, refuse_foreign_target

SHOWROOM = "showroom:"


def import_data(
    *,
    source: str,
    out: Path,
    settings: ImportConfig,
    replace: bool = False,
    cache: Path | None = None,
) -> ImportReport:
    """Makes a dataset out of a feed.

    Args:
        source: A product file, a feed directory, or `showroom:products=3000,queries=400,seed=7`
            for the generated catalogue.
        out: The dataset to write; appears when it is whole.
        settings: Column mapping, file choices, limits. The showroom uses none of them.
        replace: Whether a dataset at `out` may be replaced.
        cache: A workspace's cache: photographs that were decoded before are not decoded again.

    Raises:
        DataContractError: The feed cannot be read, is empty, or too many rows are rejected.
        ConfigError: The showroom's description cannot be read.
        ArtifactError: `out` exists and may not be replaced.
    """
    if not source.startswith(SHOWROOM):
        return import_feed(Path(source), out=out, settings=settings, replace=replace, cache=cache)
    from mmr.config.showroom import parse_showroom_source
    from mmr.stages.showroom import render_showroom

    refuse_foreign_target(out, marker="dataset.json", replace=replace)
    showroom = parse_showroom_source(source)
    with new_directory(out, replace=replace) as scratch:
        render_showroom(out=scratch, settings=showroom)
    return ImportReport.from_manifest(out, Dataset(out).manifest)
