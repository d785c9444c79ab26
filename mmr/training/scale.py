"""The learnt temperature of the contrastive losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmr.config.training import LossSettings


class LearntScale(nn.Module):
    """The contrastive scale (1 / temperature), learnt and clamped from above.

    Source: CLIP (arXiv:2103.00020, section 2.5), clamp included; the start is a setting.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(settings.scale).log())
        self._log_max = float(torch.tensor(settings.max_scale).log())

    def forward(self) -> Tensor:
        return self.log_scale.clamp(max=self._log_max).exp()
