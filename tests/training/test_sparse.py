import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mmr.training.sparse import dense_block


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12)),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
)
def test_a_block_is_what_indexing_the_whole_table_gives(
    shape: tuple[int, int], seed: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    dense = random.integers(1, 100, shape) * (random.random(shape) < share)
    rows = random.integers(0, shape[0], random.integers(0, 12))
    columns = np.flatnonzero(random.random(shape[1]) < 0.5)

    block = dense_block(csr_array(dense.astype(np.int8)), rows, columns)

    assert block.dtype == np.int8
    np.testing.assert_array_equal(block, dense[np.ix_(rows, columns)])
