"""The stage `monitor`: one look at the query log of a release."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from mmr.atomic import new_directory, write_json, write_text
from mmr.config.monitor import MonitorConfig
from mmr.indexing import read_products
from mmr.indexing.manifest import PRODUCTS_FILE
from mmr.monitoring.exposition import render_metrics
from mmr.monitoring.pages import render_html, render_markdown
from mmr.monitoring.report import MonitorReport, summarise
from mmr.monitoring.tally import RawLine, Tally, Window
from mmr.release.bundle import INDEX, Release
from mmr.release.query_profile import QUERY_PROFILE, QueryPlacer, QueryProfile


def monitor(
    *,
    release: Release,
    lines: Iterable[RawLine],
    window: Window,
    settings: MonitorConfig,
    out: Path,
    textfile: Path,
) -> MonitorReport:
    """Holds the queries that a release answered against those that it was trained on.

    Args:
        release: The release.
        lines: Of the query log, whatever releases answered.
        window: Which records count.
        settings: The limits.
        out: Directory of `report.html`, `report.md` and `report.json`; replaced as a whole.
        textfile: Receives the Prometheus metrics; replaced by a rename.

    Raises:
        CorruptArtifactError: The release is damaged.
    """
    release.verify(INDEX, QUERY_PROFILE)
    profile = QueryProfile.read(
        release.path, encoder_fingerprint=release.manifest.encoder_fingerprint
    )
    products = read_products(release.index_dir / PRODUCTS_FILE)
    tally = Tally(
        window=window,
        release_id=release.release_id,
        placer=QueryPlacer(profile) if profile else None,
        catalogue=frozenset(products["product_id"].to_pylist()),
    )
    tally.read(lines)
    report = summarise(tally, settings, made_at=datetime.now(UTC).isoformat(timespec="seconds"))
    with new_directory(out, replace=True) as draft:
        write_json(draft / "report.json", report.as_json())
        write_text(draft / "report.md", render_markdown(report))
        write_text(draft / "report.html", render_html(report))
    write_text(textfile, render_metrics(report))
    return report
