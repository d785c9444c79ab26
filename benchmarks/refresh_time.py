"""How long does it take until new products can be found?

    python benchmarks/refresh_time.py --workspace workspace --feed data/shop --out reports/refresh

Takes the feed or dataset that the workspace's champion was made of, adds products that nobody has
seen (copies of known ones with another id, another title and a mirrored photograph), and runs
`mmr refresh`, deployment included, several times with other products each time. Start the server
first (`mmr serve`): a machine that refreshes every night serves already.

A dataset of `mmr import` is written anew with the new products; to a folder of Parquet files with
`product_id`, `title` and `image` one more file is added, and each refresh imports all of them.

Writes `refresh.json` and `refresh.md`; exit status 1 if the median took longer than the limit.
"""

import argparse
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from mmr.atomic import write_json, write_text
from mmr.data.dataset import PRODUCT_FIELDS, Dataset
from mmr.data.writer import new_dataset

_QUALITY = 90


def main() -> int:
    """Runs the benchmark; 0 if new products were found in time."""
    options = _parse()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mmr-refresh-", dir=options.scratch) as scratch:
        runs = [_run(number, options, Path(scratch)) for number in range(options.rounds)]
    seconds = statistics.median(run["seconds"] for run in runs)
    report = {
        "products": runs[0]["products"],
        "new": runs[0]["new"],
        "cores": os.cpu_count(),
        "median_s": seconds,
        "limit_s": options.limit_s,
        "passed": seconds < options.limit_s,
        "runs": runs,
    }
    write_json(options.out / "refresh.json", report)
    write_text(options.out / "refresh.md", _as_markdown(report))
    sys.stdout.write(_as_markdown(report))
    return 0 if report["passed"] else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--feed", type=Path, required=True, help="the champion's feed or dataset")
    parser.add_argument("--share", type=float, default=0.01, help="new products, of all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--port-base", type=int, default=8000)
    parser.add_argument("--out", type=Path, default=Path("reports/refresh"))
    parser.add_argument("--scratch", type=Path, help="where the larger feeds are written")
    return parser.parse_args()


def _run(number: int, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    feed, write = scratch / f"feed-{number}", _write_shards
    if (options.feed / "dataset.json").is_file():
        write = _write_dataset
    products, new = write(options.feed, feed, share=options.share, seed=number)
    words = ["refresh", str(feed), "--workspace", str(options.workspace)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "mmr", *words, "--port-base", str(options.port_base)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"error: mmr {' '.join(words)} failed:\n{done.stdout}")
    return {
        "seconds": round(seconds, 1),
        "products": products,
        "new": new,
        "output": done.stdout.splitlines(),
    }


def _write_dataset(known: Path, out: Path, *, share: float, seed: int) -> tuple[int, int]:
    """The dataset's products, and new ones that differ from them in id, title and photograph.

    Returns:
        How many are known, and how many are new.
    """
    dataset = Dataset(known)
    schema = dataset.product_table().schema
    extra = {name: schema.field(name).type for name in schema.names if name not in PRODUCT_FIELDS}
    chosen = _chosen(len(dataset), share=share, seed=seed)
    with new_dataset(out, attributes=extra) as writer:
        copies = []
        for row, product in enumerate(_products(dataset)):
            writer.add_products([product])
            if row in chosen:
                copies.append(_unseen(product, seed))
        writer.add_products(copies)
        writer.set_queries(dataset.queries())
        writer.set_judgements(dataset.judgements())
        writer.finish(name=dataset.manifest.name, prepared=dataset.manifest.prepared)
    return len(dataset), len(copies)


def _write_shards(known: Path, out: Path, *, share: float, seed: int) -> tuple[int, int]:
    """The feed's own files, linked, and one more with the new products; as `_write_dataset`."""
    shards = sorted(known.glob("products*.parquet"))
    if not shards:
        raise SystemExit(f"error: {known} is no dataset, and has no products*.parquet.")
    whole = pa.concat_tables([pq.read_table(shard) for shard in shards])
    chosen = sorted(_chosen(len(whole), share=share, seed=seed))
    copies = [_unseen(product, seed) for product in whole.take(chosen).to_pylist()]
    out.mkdir()
    for file in known.iterdir():
        (out / file.name).symlink_to(file.resolve())
    pq.write_table(pa.Table.from_pylist(copies, schema=whole.schema), out / "products-new.parquet")
    return len(whole), len(copies)


def _chosen(products: int, *, share: float, seed: int) -> set[int]:
    return set(random.Random(seed).sample(range(products), max(1, round(share * products))))


def _products(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for batch in dataset.product_batches():
        yield from batch.to_pylist()


def _unseen(product: dict[str, Any], seed: int) -> dict[str, Any]:
    image = product["image"]
    title = f"{product['title'] or 'product'} edition {seed}"
    copy = {**product, "product_id": f"{product['product_id']}-new-{seed}", "title": title}
    if image:
        copy["image"] = {**image, "bytes": _mirrored(image["bytes"])}
    return copy


def _mirrored(encoded: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as picture:
        ImageOps.mirror(picture.convert("RGB")).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _as_markdown(report: dict[str, Any]) -> str:
    verdict = "passed" if report["passed"] else "FAILED"
    times = ", ".join(f"{run['seconds']:.1f}" for run in report["runs"])
    steps = "\n".join(report["runs"][-1]["output"])
    return (
        f"# Refresh: {verdict}\n\n"
        f"{report['new']:,} new products beside {report['products']:,}, {report['cores']} cores, "
        f"command to deployed: median {report['median_s']:.1f} s of {times} s; "
        f"limit {report['limit_s']:.0f} s.\n\nThe last run:\n\n```\n{steps}\n```\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
