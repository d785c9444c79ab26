"""Records and arrays that pass between the packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Photographs(Protocol):
    """Photographs of products by row: a store on disk, or an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Int64Array, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Hit:
    """One product of a search answer.

    Attributes:
        rank: Position in the answer, from 1.
        score: Cosine similarity of query and product embedding, in [-1, 1].
        product_id: The shop's own id.
    """

    rank: int
    score: float
    product_id: str


@dataclass(frozen=True)
class ProductEmbeddings:
    """The embeddings of a whole catalogue and what each product had to offer.

    Attributes:
        product_ids: The shop's ids, in the order of the rows.
        vectors: `(products, dim)`, unit length.
        has_text: `(products,)`, whether the product has any title or description.
        has_image: `(products,)`, whether the product has an image.
        weights: `(products, 3)`, shares of text, image and their joint expert in each vector; NaN
            where a product has neither text nor image. None where the fusion has no such shares.
        words: Of document expansion, by product id; None where the model's texts have none.
    """

    product_ids: list[str]
    vectors: Float32Array
    has_text: BoolArray
    has_image: BoolArray
    weights: Float32Array | None = None
    words: Mapping[str, Sequence[str]] | None = None


@dataclass(frozen=True)
class Coverage:
    """How many products an index holds, and how many of them had text and an image."""

    products: int
    with_text: int
    with_image: int
