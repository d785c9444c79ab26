"""Renders the showroom product by product and writes it as a dataset, in bounded memory."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mmr.config.showroom import ShowroomConfig
from mmr.data.dataset import COLD_START, DatasetManifest
from mmr.data.showroom.drawing import photograph
from mmr.data.showroom.products import ATTRIBUTES, Stream, is_cold_start, sample_product, stream
from mmr.data.showroom.queries import make_queries
from mmr.data.showroom.text import write_text
from mmr.data.writer import new_dataset
from mmr.errors import MmrError
from mmr.progress import progress_bar

ATTRIBUTE_COLUMNS: dict[str, pa.DataType] = {
    **{f"true_{name}": pa.string() for name in ATTRIBUTES},
    COLD_START: pa.bool_(),
}
_CHUNK_PRODUCTS = 100
_WORTH_PROCESSES = 1000  # below this, starting worker processes takes longer than rendering


@dataclass(frozen=True)
class RenderedProduct:
    """One product: its row of the dataset and its attribute codes."""

    row: dict[str, Any]
    codes: tuple[int, ...]


def write_showroom(
    out: Path, settings: ShowroomConfig, *, workers: int | None = None
) -> DatasetManifest:
    """Writes the generated catalogue as a dataset, whole or not at all.

    Args:
        out: The dataset directory to create.
        settings: What to generate.
        workers: Rendering processes; they change the speed and nothing else. By default 2 for a
            catalogue that is worth them.

    Raises:
        ArtifactError: `out` exists and is not empty.
        MmrError: A rendering process died.
    """
    codes = np.empty((len(ATTRIBUTES), settings.products), np.uint8)
    cold_start = np.empty(settings.products, np.bool_)
    with (
        new_dataset(out, attributes=ATTRIBUTE_COLUMNS) as writer,
        progress_bar("Rendering products", settings.products) as bar,
    ):
        for number, product in enumerate(render_products(settings, workers=workers)):
            writer.add_products([product.row])
            codes[:, number] = product.codes
            cold_start[number] = product.row[COLD_START]
            bar.advance()
        made = make_queries(codes, cold_start, settings)
        writer.set_queries(made.queries)
        writer.set_judgements(made.judgements)
        name = f"showroom of {settings.products} products, seed {settings.seed}"
        return writer.finish(name=name, prepared=None)


def render_products(
    settings: ShowroomConfig, *, workers: int | None = None
) -> Iterator[RenderedProduct]:
    """Renders the products in order, lazily: only a few chunks exist at any time."""
    chunks = (
        range(start, min(start + _CHUNK_PRODUCTS, settings.products))
        for start in range(0, settings.products, _CHUNK_PRODUCTS)
    )
    processes = workers or (2 if settings.products >= _WORTH_PROCESSES else 1)
    if processes == 1:
        for chunk in chunks:
            for number in chunk:
                yield render_product(settings, number)
        return
    # Not fork: the caller may run threads (BLAS, gRPC) that a forked child would find locked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        pending: deque[Future[list[RenderedProduct]]] = deque()
        try:
            for chunk in chunks:
                pending.append(pool.submit(_render_chunk, settings, chunk))
                if len(pending) > 2 * processes:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool as error:
            raise MmrError(
                "A rendering process died: killed for memory, or started from a script without "
                'an `if __name__ == "__main__":` guard. Render with one process (--workers 1).'
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _render_chunk(settings: ShowroomConfig, numbers: range) -> list[RenderedProduct]:
    return [render_product(settings, number) for number in numbers]


def render_product(settings: ShowroomConfig, number: int) -> RenderedProduct:
    """Makes one product; it depends on the settings and its number alone."""
    product = sample_product(settings.seed, number)
    text = write_text(product, settings)
    image = None
    if stream(settings.seed, number, Stream.COVERAGE).random() >= settings.image_missing:
        jpeg = photograph(
            product, seed=settings.seed, px=settings.px, quality=settings.jpeg_quality
        )
        image = {"bytes": jpeg, "path": f"{product.product_id}.jpg"}
    row = {
        "product_id": product.product_id,
        "title": text.title,
        "description": text.description,
        "image": image,
        **product.truth(),
        COLD_START: is_cold_start(settings.seed, product, settings.cold_start_share),
    }
    return RenderedProduct(row, product.codes)
