"""Batch normalisation over the whole batch when several processes hold a part of it each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmr.training.processes import process_count, summed


class WholeBatchNorm(_BatchNorm):
    """Batch normalisation with mean and variance of all processes' rows.

    `torch.nn.SyncBatchNorm` does the same on GPUs only; this one also runs where the tests do.
    In evaluation, and in one process, it is ordinary batch normalisation.

    Shape:
        - input and output: `(batch, channels, ...)`; the batch is this process's part.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected (batch, channels, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or process_count() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        values = input.float()
        dims = [0, *range(2, input.ndim)]
        column = (1, -1, *[1] * (input.ndim - 2))
        own = values.new_tensor([values.numel() / values.shape[1]])
        totals = summed(torch.cat([values.sum(dims), own]))
        mean, rows = totals[:-1] / totals[-1], totals[-1].detach()
        centred = values - mean.view(column)
        variance = summed(centred.square().sum(dims)) / rows
        self._track(mean.detach(), (variance * rows / (rows - 1).clamp(min=1)).detach())
        normal = centred * torch.rsqrt(variance + self.eps).view(column)
        if self.affine:
            normal = normal * self.weight.view(column) + self.bias.view(column)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        seen = self.num_batches_tracked
        if seen is not None:
            seen.add_(1)
        cumulative = 1.0 / float(seen) if seen is not None else 0.0
        share = self.momentum if self.momentum is not None else cumulative
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def normalise_over_processes(model: nn.Module) -> None:
    """Turns every batch normalisation inside a model into one over all processes' rows.

    Parameters and buffers stay the same objects under the same names. Nothing changes in one
    process.
    """
    if process_count() == 1:
        return
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, WholeBatchNorm):
                setattr(parent, name, _whole(child))


def _whole(norm: _BatchNorm) -> WholeBatchNorm:
    whole = WholeBatchNorm(
        norm.num_features,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
    )
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(whole, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(whole, name, buffer)
    return whole.train(norm.training)
