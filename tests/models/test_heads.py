import torch
from torch.nn import functional as F

from mmr.models.heads import ImageHead, ProjectionHead


def test_an_untrained_head_keeps_the_backbones_cosine_similarities() -> None:
    features = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))

    embedding = ProjectionHead(16, 16, hidden=8, dropout=0.5)(features)

    torch.testing.assert_close(embedding, F.normalize(features, dim=-1))


def test_a_head_that_changes_the_dimension_starts_with_an_orthogonal_map() -> None:
    head = ProjectionHead(8, 20, hidden=8, dropout=0.0)
    features = F.normalize(torch.randn(5, 8), dim=-1)

    embedding = head(features)

    torch.testing.assert_close(embedding @ embedding.T, features @ features.T, atol=1e-5, rtol=1e-4)


def test_colour_has_a_path_of_its_own_that_starts_silent() -> None:
    torch.manual_seed(0)
    head = ImageHead(8, 5, 8, hidden=4, dropout=0.0)
    pooled, red, blue = torch.randn(2, 8), torch.rand(2, 5), torch.rand(2, 5)

    silent = head(torch.cat([pooled, red], dim=1))
    torch.testing.assert_close(silent, head(torch.cat([pooled, blue], dim=1)))

    assert head.colour is not None
    torch.nn.init.normal_(head.colour.weight)
    assert not torch.allclose(
        head(torch.cat([pooled, red], dim=1)), head(torch.cat([pooled, blue], dim=1))
    )
