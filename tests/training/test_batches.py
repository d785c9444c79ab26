from collections.abc import Callable

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmr.config.techniques import TechniqueSettings
from mmr.config.training import QueryBatchSettings
from mmr.training.augment import augmented
from mmr.training.data import Catalogue, JudgedQueries, QueryBatches, product_batch
from mmr.training.targets import TargetRules

MakeJudged = Callable[..., JudgedQueries]
MakeCatalogue = Callable[..., Catalogue]


SETTINGS = QueryBatchSettings(queries=4, positives=3, negatives=6)


def test_a_batch_depends_on_seed_and_step_alone(random_judged: MakeJudged) -> None:
    judged = random_judged
    first = QueryBatches(judged(10, 30), products=30, settings=SETTINGS, seed=3)
    for step in range(5):
        first(step)
    again = QueryBatches(judged(10, 30), products=30, settings=SETTINGS, seed=3)

    one, two = first(7), again(7)

    assert one.queries.tolist() == two.queries.tolist()
    assert one.products.tolist() == two.products.tolist()
    other = QueryBatches(judged(10, 30), products=30, settings=SETTINGS, seed=4)(7)
    assert one.products.tolist() != other.products.tolist()


def test_every_query_of_a_batch_brings_a_relevant_product_and_every_grade_is_true(
    random_judged: MakeJudged, make_catalogue: MakeCatalogue
) -> None:
    judged = random_judged(10, 30)
    rules = TargetRules(
        judged,
        make_catalogue(30),
        settings=TechniqueSettings(),
        siblings=None,
        guide=None,
        teacher=None,
    )

    batch = QueryBatches(judged, products=30, settings=SETTINGS, seed=3)(2)
    targets = rules(batch.queries, batch.products)

    assert bool((targets.grades > 0).any(dim=1).all())
    assert len(set(batch.products.tolist())) == len(batch.products)
    np.testing.assert_array_equal(
        targets.grades.numpy(), judged.grades.toarray()[np.ix_(batch.queries, batch.products)]
    )
    assert targets.ignored is None
    assert targets.teacher is None


def test_further_sources_add_their_products_to_a_batch(random_judged: MakeJudged) -> None:
    settings = SETTINGS.model_copy(update={"negatives": 0})
    plain = QueryBatches(random_judged(10, 30), products=50, settings=settings, seed=3)
    more = QueryBatches(
        random_judged(10, 30),
        products=50,
        settings=settings,
        seed=3,
        further=[lambda queries, step: queries + 30, lambda queries, step: np.array([45, 45])],
    )

    assert more(4).queries.tolist() == plain(4).queries.tolist()
    expected = {*plain(4).products.tolist(), *(plain(4).queries + 30).tolist(), 45}
    assert set(more(4).products.tolist()) == expected


def test_sub_batches_of_a_category_stand_together_and_an_epoch_shows_each_query_once(
    random_judged: MakeJudged,
) -> None:
    settings = QueryBatchSettings(queries=6, category_queries=3)
    categories = np.array([0, 1] * 6 + [2] * 3 + [0] * 3)  # 9, 6 and 3 queries
    batches = QueryBatches(
        random_judged(18, 30), products=30, settings=settings, seed=3, categories=categories
    )

    epoch = np.concatenate([batches(step).queries for step in range(3)])

    assert sorted(epoch.tolist()) == list(range(18))
    groups = categories[epoch].reshape(-1, 3)
    assert all(len(set(group)) == 1 for group in groups.tolist())
    assert groups[:, 0].tolist() != sorted(groups[:, 0].tolist())  # categories are mixed
    assert epoch.tolist() != np.concatenate([batches(step).queries for step in (3, 4, 5)]).tolist()


@given(rows=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 5))
def test_an_epoch_shows_no_product_twice(rows: int, size: int, seed: int) -> None:
    products = np.arange(rows, dtype=np.int64)
    per_epoch = rows // min(size, rows)

    epoch = [product_batch(products, size=size, step=step, seed=seed) for step in range(per_epoch)]

    seen = np.concatenate(epoch)
    assert len(set(seen.tolist())) == len(seen) == per_epoch * min(size, rows)


def test_augmentation_keeps_a_plain_colour_and_pads_with_white() -> None:
    torch.manual_seed(0)
    pixels = torch.full((16, 3, 32, 32), 255, dtype=torch.uint8)
    pixels[:, 0, 8:24, 8:24], pixels[:, 1:, 8:24, 8:24] = 200, 20

    moved = augmented(pixels)

    assert moved.dtype == torch.uint8
    centre = moved[:, :, 15:17, 15:17].float().mean((2, 3))
    assert bool((centre[:, 0] > 170).all())
    assert bool((centre[:, 1:] < 40).all())
    assert bool((moved[:, :, 0, 0] > 225).all())
    assert not torch.equal(moved[0], moved[1])
