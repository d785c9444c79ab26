"""A vector for each word piece of the shop: what a pooled sentence vector blurs, kept apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmr.models.text import TextEncoder


class WordTable(nn.Module):
    """Adds up the vectors of a text's word pieces.

    A pretrained sentence encoder pools brands and colours into one vector and a frozen one cannot
    learn to tell a shop's rare names apart. This table can, at the cost of one lookup: queries and
    product texts share it, and it starts at zero, so that training starts at the backbone's own
    similarities. Only pieces that the shop uses have a row; all others, and the tokenizer's special
    tokens, add nothing.

        words(x) = sum over the pieces of x that have a row / sqrt(their number)

    Args:
        vocabulary: Word pieces of the tokenizer.
        pieces: How many of them have a row.
        dim: Channels out.

    Shape:
        - input: `(batch, tokens)`, int64 word pieces, padded with a special token.
        - output: `(batch, dim)`.

    Source: the character n-grams beside the transformer of Que2Search (doi
    10.1145/3447548.3467127), on word pieces and shared by both towers: our reading.
    """

    rows: Tensor

    def __init__(self, *, vocabulary: int, pieces: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(pieces + 1, dim))  # row 0 stays unused
        self.register_buffer("rows", torch.zeros(vocabulary, dtype=torch.int64))

    @classmethod
    def of_shop(cls, encoder: TextEncoder, texts: Sequence[str], *, dim: int) -> WordTable:
        """An empty table with a row for each word piece in some texts.

        Args:
            encoder: Its tokenizer cuts the texts.
            texts: Product texts and training queries.
            dim: Channels out.
        """
        tokenizer = encoder.tokenizer
        ids = tokenizer(list(texts), add_special_tokens=False, truncation=False)["input_ids"]
        used = sorted({piece for text in ids for piece in text} - set(tokenizer.all_special_ids))
        words = cls(vocabulary=len(tokenizer), pieces=len(used), dim=dim)
        words.rows[torch.tensor(used, dtype=torch.int64)] = torch.arange(1, len(used) + 1)
        return words

    @property
    def pieces(self) -> int:
        """Word pieces that have a row."""
        return len(self.table) - 1

    def forward(self, pieces: Tensor) -> Tensor:
        rows = self.rows[pieces]
        known = rows > 0
        if torch.onnx.is_in_onnx_export():  # the exporter knows no bags of two dimensions
            total = (F.embedding(rows, self.table) * known.unsqueeze(-1)).sum(1)
        else:
            total = F.embedding_bag(rows, self.table, mode="sum", padding_idx=0)
        return total / known.sum(1, keepdim=True).clamp(min=1).sqrt()
