"""Feeds of two products, a picture for them, and their import."""

import io
from pathlib import Path

from PIL import Image

from mmr.config.data import ImportConfig
from mmr.data.dataset import Dataset
from mmr.stages.import_data import import_data


def jpeg(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 40).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def write_feed(
    folder: Path,
    *,
    products: str = "product_id,title\np1,Red sofa\np2,Blue chair\n",
    queries: str | None = "query_id,query\nq1,red sofa\nq2,chair\n",
    judgements: str | None = "query_id,product_id,grade\nq1,p1,2\nq2,p2,1\n",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "products.csv").write_text(products, encoding="utf-8", newline="")
    for name, text in (("queries", queries), ("judgements", judgements)):
        if text is not None:
            (folder / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
    return folder


def run(feed: Path, out: Path, **settings: object) -> Dataset:
    import_data(source=str(feed), out=out, settings=ImportConfig(**settings))
    return Dataset(out)
