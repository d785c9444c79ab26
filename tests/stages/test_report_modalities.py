"""The gate's report says what text and image weigh; its figures are those of the product tower."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmr import stages
from mmr.atomic import write_json
from mmr.config.gate import GateConfig
from mmr.config.index import IndexConfig
from mmr.config.model import FusionKind
from mmr.data.dataset import Dataset
from mmr.evaluation.metrics import relevant_judgements
from mmr.stages.embedding import ProductTower, embed_queries
from mmr.tracking import InMemoryTracking

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the ONNX exporter

Untrained = Callable[[FusionKind], Path]
CONFIG = GateConfig(resamples=199, report_examples=3, min_slice_queries=1)


def run_gate(candidate: Path, text_only: Path, dataset: Path, tmp_path: Path) -> tuple[dict, str]:
    vectors, cache = tmp_path / "vectors", tmp_path / "cache"
    stages.embed_catalogue(dataset=dataset, model=candidate, out=vectors, cache=cache)
    stages.build_index(vectors=vectors, out=tmp_path / "index", settings=IndexConfig())
    stages.evaluate_gate(
        dataset=dataset,
        candidate=candidate,
        baseline=text_only,
        index=tmp_path / "index",
        champion=None,
        out=tmp_path / "gate",
        settings=CONFIG,
        cache=cache,
        tracker=InMemoryTracking(),
    )
    record = json.loads((tmp_path / "gate" / "gate.json").read_text())
    return record, (tmp_path / "gate" / "report.html").read_text()


def test_weights_are_averaged_over_the_catalogue_and_over_each_slices_products(
    untrained_model: Untrained, tiny_dataset: Path, tmp_path: Path
) -> None:
    candidate = untrained_model(FusionKind.BILINEAR_EXPERTS)
    record, page = run_gate(
        candidate, untrained_model(FusionKind.TEXT_ONLY), tiny_dataset, tmp_path
    )

    data = Dataset(tiny_dataset)
    tower = ProductTower.open(candidate, data, cache=tmp_path / "cache")
    weights = dict(zip(data.product_ids(), tower.weights(range(len(tower))).tolist(), strict=True))
    both = (tower.products.has_text & tower.products.has_image).tolist()
    with_both = {name for name, has in zip(data.product_ids(), both, strict=True) if has}
    means = record["modalities"]["means"]
    assert means["all products"]["products"] == len(with_both)
    expected = np.mean([weights[name] for name in with_both], axis=0)
    found = [means["all products"][part] for part in ("text", "image", "joint")]
    np.testing.assert_allclose(found, expected, atol=1e-5)

    queries = data.queries("validation")
    kind = next(iter(queries["kind"]))
    asked = queries.loc[queries["kind"] == kind, "query_id"]
    relevant = relevant_judgements(data.judgements("validation"))
    wanted = set(relevant.loc[relevant["query_id"].isin(asked), "product_id"]) & with_both
    assert means[f"kind={kind}"]["products"] == len(wanted)
    assert means[f"kind={kind}"]["image"] == pytest.approx(
        np.mean([weights[name][1] for name in wanted]), abs=1e-5
    )
    assert "What text and image weigh" in page
    assert page.count("<rect") == 20
    assert "both together" in page


@pytest.mark.parametrize(("best_step", "said"), [(0, True), (20, False)])
def test_the_page_says_where_the_fusion_kept_its_start(
    untrained_model: Untrained,
    tiny_dataset: Path,
    tmp_path: Path,
    best_step: int,
    said: bool,
) -> None:
    candidate = tmp_path / "candidate"
    shutil.copytree(untrained_model(FusionKind.BILINEAR_EXPERTS), candidate)
    write_json(candidate / "training.json", {"stage": "train_fusion", "best_step": best_step})

    text_only = untrained_model(FusionKind.TEXT_ONLY)
    record, page = run_gate(candidate, text_only, tiny_dataset, tmp_path)

    assert record["modalities"]["kept_start"] is said
    assert ("better than its start, equal shares" in page) is said


def test_example_queries_show_each_products_score_by_text_by_image_and_by_both(
    untrained_model: Untrained, tiny_dataset: Path, tmp_path: Path
) -> None:
    candidate = untrained_model(FusionKind.MODAL_ADAPTATION)
    _, page = run_gate(candidate, untrained_model(FusionKind.TEXT_ONLY), tiny_dataset, tmp_path)

    example = re.search(
        r'<div class="example">\s*<strong>(.*?)</strong>(.*?)</section>', page, re.S
    )
    assert example is not None
    shown = re.search(
        r'title="([^",]+)(?:, grade \d)?">(?:(?!</div>\s*<div class="product).)*?'
        r'class="t">text (-?[\d.]+)</span><span class="i">image (-?[\d.]+)</span>'
        r"<strong>both (-?[\d.]+)</strong>",
        example[2],
        re.S,
    )
    assert shown is not None
    data = Dataset(tiny_dataset)
    tower = ProductTower.open(candidate, data, cache=tmp_path / "cache")
    query = embed_queries(candidate, [example[1]], cache=tmp_path / "cache")[0]
    row = [data.product_ids().index(shown[1])]
    expected = [
        (tower.vectors(row, text=text, image=image) @ query).item()
        for text, image in ((True, False), (False, True), (True, True))
    ]
    np.testing.assert_allclose([float(shown[n]) for n in (2, 3, 4)], expected, atol=6e-4)


def test_a_fusion_without_weights_shows_what_is_left_without_each_modality(
    untrained_model: Untrained, tiny_dataset: Path, tmp_path: Path
) -> None:
    candidate = untrained_model(FusionKind.CONCAT)
    record, page = run_gate(
        candidate, untrained_model(FusionKind.TEXT_ONLY), tiny_dataset, tmp_path
    )

    catalogue = record["modalities"]["means"]["all products"]
    assert catalogue["text"] is None
    assert catalogue["without_image"] < 0.999
    assert "it has no weights to show" in page
    assert "<rect" not in page


def test_a_text_only_candidate_has_no_such_section(
    untrained_model: Untrained, tiny_dataset: Path, tmp_path: Path
) -> None:
    model = untrained_model(FusionKind.TEXT_ONLY)

    record, page = run_gate(model, model, tiny_dataset, tmp_path)

    assert record["modalities"] is None
    assert "What text and image weigh" not in page
