import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mmr.config.training import QueryBatchSettings
from mmr.training.augment import augmented
from mmr.training.data import JudgedQueries, QueryBatches, product_batch


def judged(queries: int, products: int, seed: int = 0) -> JudgedQueries:
    random = np.random.default_rng(seed)
    grades = (random.random((queries, products)) < 0.2) * random.integers(1, 3, (queries, products))
    grades[np.arange(queries), random.integers(0, products, queries)] = 2
    return JudgedQueries([f"query {row}" for row in range(queries)], csr_array(grades.astype("i1")))


SETTINGS = QueryBatchSettings(queries=4, positives=3, negatives=6)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    first = QueryBatches(judged(10, 30), products=30, settings=SETTINGS, seed=3)
    for step in range(5):
        first(step)
    again = QueryBatches(judged(10, 30), products=30, settings=SETTINGS, seed=3)

    one, two = first(7), again(7)

    assert one.queries.tolist() == two.queries.tolist()
    assert one.products.tolist() == two.products.tolist()
    other = QueryBatches(judged(10, 30), products=30, settings=SETTINGS, seed=4)(7)
    assert one.products.tolist() != other.products.tolist()


def test_every_query_of_a_batch_brings_a_relevant_product_and_every_grade_is_true() -> None:
    data = judged(10, 30)
    dense = data.grades.toarray()

    batch = QueryBatches(data, products=30, settings=SETTINGS, seed=3)(2)

    assert bool((batch.grades > 0).any(dim=1).all())
    assert len(set(batch.products.tolist())) == len(batch.products)
    np.testing.assert_array_equal(
        batch.grades.numpy(), dense[np.ix_(batch.queries, batch.products)]
    )


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
