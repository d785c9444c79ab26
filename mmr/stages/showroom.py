"""The stage that renders the generated catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmr.config.showroom import ShowroomConfig
from mmr.data.showroom import write_showroom


@dataclass(frozen=True)
class ShowroomReport:
    """What was rendered.

    Attributes:
        products, queries, judgements: Rows written; a small catalogue may yield fewer queries
            than were wanted.
        queries_wanted: Queries that the settings asked for.
        products_without_image: Rows without a photograph.
        content_hash: Identity of the dataset.
    """

    products: int
    queries: int
    queries_wanted: int
    judgements: int
    products_without_image: int
    content_hash: str

    def as_metrics(self) -> dict[str, float]:
        """The counts, for trackers."""
        return {
            "products": float(self.products),
            "queries": float(self.queries),
            "judgements": float(self.judgements),
            "products_without_image": float(self.products_without_image),
        }


def render_showroom(
    *, out: Path, settings: ShowroomConfig, workers: int | None = None
) -> ShowroomReport:
    """Renders the generated catalogue to a dataset directory that appears whole or not at all.

    Args:
        out: The dataset directory to create.
        settings: What to generate; same settings, same content hash.
        workers: Rendering processes; they change nothing but the speed.

    Raises:
        ArtifactError: `out` exists and is not empty.
    """
    manifest = write_showroom(out, settings, workers=workers)
    return ShowroomReport(
        products=manifest.products,
        queries=manifest.queries,
        queries_wanted=settings.queries,
        judgements=manifest.judgements,
        products_without_image=manifest.products_without_image,
        content_hash=manifest.content_hash,
    )
