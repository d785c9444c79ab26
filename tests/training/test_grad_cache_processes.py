"""Encoding in parts in two processes that train as one, batch normalisation included."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmr.training.batch_norm import normalise_over_processes
from mmr.training.encoding import part_count
from mmr.training.grad_cache import encoded_in_parts
from mmr.training.processes import accelerator, average_gradients, gathered, own_part

ROWS = 13  # 7 and 6; with at most 4 at once each process takes its rows in two parts
MET = ([0, 1, 2, 3, 7, 8, 9], [4, 5, 6, 10, 11, 12])  # rows that are normalised together


def new_encoder() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Linear(6, 8, bias=False)  # a bias would be normalised away
    return nn.Sequential(first, nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))


def rows() -> Tensor:
    return torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(1))


def loss_of(embeddings: Tensor) -> Tensor:
    unit = F.normalize(embeddings, dim=-1)
    return F.cross_entropy(5 * unit @ unit.T, torch.arange(ROWS).roll(1))


def encode_as_one_of(index: int, port: int, root: Path) -> None:
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    accelerator()
    encoder = new_encoder()
    normalise_over_processes(encoder)
    own = rows()[own_part(np.arange(ROWS, dtype=np.int64))]
    parts = part_count(ROWS, at_once=4)
    loss = loss_of(gathered(encoded_in_parts(encoder, own, parts=parts, model=encoder), rows=ROWS))
    loss.backward()
    average_gradients(list(encoder.parameters()))
    found = {name: value.grad for name, value in encoder.named_parameters()}
    torch.save([loss.detach(), found, encoder.state_dict()], root / f"{index}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_in_parts_have_the_loss_gradients_and_statistics_of_one(
    tmp_path: Path,
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=encode_as_one_of, args=(index, port, tmp_path)) for index in range(2)
    ]
    for process in processes:
        process.start()
    encoder = new_encoder()
    encoded = torch.cat([encoder(rows()[part]) for part in MET])
    loss = loss_of(encoded[torch.tensor([*MET[0], *MET[1]]).argsort()])
    loss.backward()
    for process in processes:
        process.join()
        assert process.exitcode == 0

    for index in range(2):
        found_loss, gradients, state = torch.load(tmp_path / f"{index}.pt")
        torch.testing.assert_close(found_loss, loss.detach())
        for name, value in encoder.named_parameters():
            torch.testing.assert_close(gradients[name], value.grad, rtol=1e-4, atol=1e-6)
        for name, value in encoder.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-5, atol=1e-6)
