"""Several processes train as one, on the CPU with gloo."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmr.config.training import LoopSettings
from mmr.errors import ConfigError
from mmr.training.batch_norm import WholeBatchNorm
from mmr.training.figures import Figures
from mmr.training.loop import fit
from mmr.training.losses import pair_contrastive_loss
from mmr.training.processes import (
    from_main,
    gathered,
    is_main,
    own_part,
    process_index,
)
from mmr.types import Int64Array
from tests.training.figures import by_ndcg

pytestmark = pytest.mark.timeout(900)  # processes that wait for each other, on a busy machine
STEPS, ROWS = 8, 13  # an odd batch: parts differ in size
SETTINGS = LoopSettings(
    steps=STEPS, learning_rate=0.01, validate_every=2, checkpoint_every=3, bf16=False
)


class Towers(nn.Module):
    """Two smooth towers with batch normalisation, a learnt scale, and a part that is never used."""

    def __init__(self) -> None:
        super().__init__()
        first = nn.Linear(
            6, 8, bias=False
        )  # a bias would be normalised away: its gradient is noise
        self.left = nn.Sequential(first, nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))
        self.right = nn.Linear(5, 4)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.unused = nn.Linear(3, 3)


class Pairs:
    """Pairs of rows that belong together; remembers what each batch and loss was."""

    def __init__(self, towers: Towers) -> None:
        random = torch.Generator().manual_seed(1)
        self._towers = towers
        self._left = torch.randn(40, 6, generator=random)
        self._right = self._left[:, :5] + 0.1 * torch.randn(40, 5, generator=random)
        self.batches: dict[int, list[int]] = {}
        self.own_rows: list[list[int]] = []
        self.losses: list[float] = []

    def batch(self, step: int) -> Int64Array:
        rows = np.random.default_rng([3, step]).choice(40, ROWS, replace=False).astype(np.int64)
        self.batches[step] = rows.tolist()
        return rows

    def loss(self, batch: Int64Array) -> Tensor:
        own = own_part(batch)
        self.own_rows.append(own.tolist())
        left = gathered(F.normalize(self._towers.left(self._left[own]), dim=-1), rows=len(batch))
        right = gathered(F.normalize(self._towers.right(self._right[own]), dim=-1), rows=len(batch))
        same = torch.eye(len(batch), dtype=torch.bool)
        loss = pair_contrastive_loss(left, right, same, scale=self._towers.log_scale.exp())
        self.losses.append(float(loss.detach()))
        return loss


def train(root: Path) -> None:
    torch.manual_seed(0 if is_main() else 99)  # the others' start must not matter
    towers = Towers()
    objective = Pairs(towers)
    validations: list[int] = []

    def validate() -> Figures:
        validations.append(len(objective.losses))
        return by_ndcg(float(len(objective.losses)))  # later is better

    result = fit(
        towers,
        objective,
        parameters=[{"params": list(towers.parameters()), "lr": 0.01}],
        validate=validate,
        settings=SETTINGS,
        seed=7,
        checkpoint=root / f"checkpoint-{process_index()}.pt",
        description="towers",
    )
    record = {
        "weights": towers.state_dict(),
        "batches": objective.batches,
        "own_rows": objective.own_rows,
        "losses": objective.losses,
        "validations": validations,
        "best_step": result.best_step,
        "shared": from_main([float(process_index() + 5), -math.inf]),
        "draw": float(torch.rand(())),
    }
    torch.save(record, root / f"record-{process_index()}.pt")


def train_as_one_of(index: int, count: int, port: int, root: Path) -> None:
    os.environ |= {
        "RANK": str(index),
        "LOCAL_RANK": str(index),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    train(root)
    with pytest.raises(ConfigError, match="batch of 1 rows cannot be split over 2"):
        own_part(np.zeros(1, dtype=np.int64))
    torch.distributed.destroy_process_group()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


Records = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """What one process recorded, and each of two."""
    root = tmp_path_factory.mktemp("processes")
    (root / "one").mkdir()
    (root / "two").mkdir()
    context, port = multiprocessing.get_context("spawn"), free_port()
    processes = [
        context.Process(target=train_as_one_of, args=(index, 2, port, root / "two"))
        for index in range(2)
    ]
    for process in processes:
        process.start()
    train(root / "one")
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert not (root / "two" / "checkpoint-1.pt").exists(), "only the main process writes"
    assert (root / "two" / "checkpoint-0.pt").exists()
    return {
        "one": torch.load(root / "one" / "record-0.pt"),
        "first": torch.load(root / "two" / "record-0.pt"),
        "second": torch.load(root / "two" / "record-1.pt"),
    }


def test_two_processes_see_the_batches_of_one_and_split_them(records: Records) -> None:
    one, first, second = records["one"], records["first"], records["second"]

    assert one["batches"] == first["batches"] == second["batches"]
    for whole, left, right in zip(
        one["own_rows"], first["own_rows"], second["own_rows"], strict=True
    ):
        assert left + right == whole
        assert len(left) - len(right) == 1


def test_two_processes_have_the_losses_of_one(records: Records) -> None:
    one = torch.tensor(records["one"]["losses"])

    assert len(one) == STEPS
    torch.testing.assert_close(torch.tensor(records["first"]["losses"]), one, rtol=1e-5, atol=1e-6)
    assert records["first"]["losses"] == records["second"]["losses"]


def test_two_processes_end_at_the_weights_of_one_running_statistics_included(
    records: Records,
) -> None:
    one = records["one"]["weights"]

    assert "left.1.running_var" in one
    for name, value in one.items():
        torch.testing.assert_close(records["first"]["weights"][name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(records["first"]["weights"][name], records["second"]["weights"][name])


def test_the_main_process_alone_validates_and_all_learn_the_result(records: Records) -> None:
    assert records["first"]["validations"] == [0, 2, 4, 6, 8]
    assert records["second"]["validations"] == []
    assert records["second"]["best_step"] == records["one"]["best_step"] == STEPS
    assert records["first"]["shared"] == records["second"]["shared"] == [5.0, -math.inf]


def test_each_process_draws_its_own_dropout_and_the_first_draws_that_of_one(
    records: Records,
) -> None:
    assert records["first"]["draw"] == records["one"]["draw"]
    assert records["second"]["draw"] != records["one"]["draw"]


def test_one_process_keeps_its_rows_and_ordinary_batch_normalisation() -> None:
    torch.manual_seed(0)
    rows = torch.randn(6, 3, 4, 4)
    whole, ordinary = WholeBatchNorm(3), nn.BatchNorm2d(3)

    torch.testing.assert_close(whole(rows), ordinary(rows))
    torch.testing.assert_close(whole.running_var, ordinary.running_var)
    assert gathered(rows, rows=6) is rows
    assert own_part(np.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]
