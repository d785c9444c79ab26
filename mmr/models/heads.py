"""Projection heads: from a backbone's features into the space that queries and products share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """Maps a modality's features to the shared space, starting close to the backbone's own.

    A linear map plus a small residual network whose last layer starts at zero. With as many
    channels out as in, the linear map starts as the identity: before training, cosine similarities
    are those of the backbone.

    Args:
        features: Channels in.
        dim: Channels out.
        hidden: Channels of the residual network.
        dropout: Share of its hidden channels dropped in training.

    Shape:
        - input: `(batch, features)`.
        - output: `(batch, dim)`, unit length.
    """

    def __init__(self, features: int, dim: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, dim)
        last = nn.Linear(hidden, dim)
        self.residual = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            last,
        )
        if features == dim:
            nn.init.eye_(self.linear.weight)
        else:
            # the same map for all heads of this shape: aligned features stay aligned
            seeded = torch.Generator().manual_seed(0)
            nn.init.orthogonal_(self.linear.weight, generator=seeded)
        nn.init.zeros_(self.linear.bias)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.project(features), dim=-1)

    def project(self, features: Tensor) -> Tensor:
        """The projection before it is brought to unit length, `(batch, dim)`."""
        projected: Tensor = self.linear(features) + self.residual(features)
        return projected


class TextHead(ProjectionHead):
    """A projection head that may add the shop's own word vectors.

    Args:
        features: Pooled channels of the text backbone.
        dim: Channels out.
        hidden: Channels of the residual network.
        dropout: Share of its hidden channels dropped in training.
        words: Maps word pieces `(batch, tokens)` to `(batch, dim)`; None leaves them out. Query
            head and text head share it, so it is the retriever's part and not the head's.

    Shape:
        - input: `(batch, features)`, or `(batch, features + tokens)` with the word pieces behind.
        - output: `(batch, dim)`, unit length.
    """

    def __init__(
        self,
        features: int,
        dim: int,
        *,
        hidden: int,
        dropout: float,
        words: nn.Module | None = None,
    ) -> None:
        super().__init__(features, dim, hidden=hidden, dropout=dropout)
        self.features = features
        self.look_up(words)

    def look_up(self, words: nn.Module | None) -> None:
        """Sets the word vectors that are added from now on."""
        self._words = (words,)  # in a tuple, or it would be registered twice

    def forward(self, features: Tensor) -> Tensor:
        projected = self.project(features[:, : self.features])
        words = self._words[0]
        if words is not None and features.shape[1] > self.features:
            projected = projected + words(features[:, self.features :].long())
        return F.normalize(projected, dim=-1)


class ImageHead(ProjectionHead):
    """A projection head with a path of its own for colour.

    Colour is what a photograph adds to a sparse text, and little data suffices to learn it if it
    does not have to be found among thousands of shape features: a linear map of the colour
    histogram, which starts at zero, is added to the projection of the pooled features.

    Args:
        features: Pooled channels of the vision backbone.
        colours: Channels of the colour histogram; 0 leaves the path out.
        dim: Channels out.
        hidden: Channels of the residual network.
        dropout: Share of its hidden channels dropped in training.

    Shape:
        - input: `(batch, features + colours)`.
        - output: `(batch, dim)`, unit length.
    """

    def __init__(
        self, features: int, colours: int, dim: int, *, hidden: int, dropout: float
    ) -> None:
        super().__init__(features, dim, hidden=hidden, dropout=dropout)
        self.features = features
        self.colour = nn.Linear(colours, dim, bias=False) if colours else None
        if self.colour is not None:
            nn.init.zeros_(self.colour.weight)

    def forward(self, features: Tensor) -> Tensor:
        projected = self.project(features[:, : self.features])
        if self.colour is not None:
            projected = projected + self.colour(features[:, self.features :])
        return F.normalize(projected, dim=-1)
