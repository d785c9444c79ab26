import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmr.config.training import LoopSettings
from mmr.training.loop import fit
from mmr.training.schedule import LateParts, rate_share
from tests.training.figures import by_ndcg

SETTINGS = LoopSettings(
    steps=20,
    learning_rate=0.05,
    warmup_share=0.2,
    validate_every=5,
    checkpoint_every=7,
    patience=100,
    unfreeze_after=0.5,
)


class Killed(Exception):
    pass


class TwoParts(nn.Module):
    """An old part with running statistics and dropout, and a new one on top."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.old = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.new = nn.Linear(8, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.new(self.old(inputs))


class Watched:
    """A regression that writes down the old part's weights and statistics before each step."""

    def __init__(self, model: TwoParts, kill_at: int | None = None) -> None:
        self._model, self._kill_at = model, kill_at
        self.seen: list[tuple[Tensor, Tensor]] = []

    def batch(self, step: int) -> int:
        return step

    def loss(self, batch: int) -> Tensor:
        if batch == self._kill_at:
            raise Killed
        old = self._model.old
        self.seen.append((old[0].weight.detach().clone(), old[1].running_mean.clone()))
        data = torch.randn(16, 4, generator=torch.Generator().manual_seed(batch))
        return (self._model(data) - data.sum(1, keepdim=True)).square().mean()


def train(
    checkpoint: Path, *, settings: LoopSettings = SETTINGS, kill_at: int | None = None
) -> tuple[TwoParts, Watched]:
    model = TwoParts()
    objective = Watched(model, kill_at)
    fit(
        model,
        objective,
        parameters=[
            {"params": list(model.old.parameters()), "lr": 0.05},
            {"params": list(model.new.parameters()), "lr": 0.05},
        ],
        validate=lambda: by_ndcg(time.monotonic()),  # the last weights are the best
        settings=settings,
        seed=5,
        checkpoint=checkpoint,
        description="test",
        late=[model.old],
    )
    return model, objective


def test_late_parts_rest_until_they_join_and_learn_from_then_on(tmp_path: Path) -> None:
    _, watched = train(tmp_path / "checkpoint.pt")

    weights = [weight for weight, _ in watched.seen]
    statistics = [mean for _, mean in watched.seen]
    assert all(torch.equal(value, weights[0]) for value in weights[:11])
    assert all(torch.equal(value, statistics[0]) for value in statistics[:11])
    assert all(not torch.equal(*pair) for pair in pairwise(weights[10:]))
    assert not torch.equal(statistics[10], statistics[11])


def test_without_the_setting_every_part_learns_at_once(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"unfreeze_after": 0.0})

    _, watched = train(tmp_path / "checkpoint.pt", settings=settings)

    assert not torch.equal(watched.seen[0][0], watched.seen[1][0])


@pytest.mark.parametrize("kill_at", [8, 16])
def test_a_killed_run_resumes_across_the_joining(tmp_path: Path, kill_at: int) -> None:
    unbroken, _ = train(tmp_path / "unbroken.pt")
    with pytest.raises(Killed):
        train(tmp_path / "killed.pt", kill_at=kill_at)

    resumed, _ = train(tmp_path / "killed.pt")

    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_best_weights_from_before_the_joining_are_restored_whole(tmp_path: Path) -> None:
    model = TwoParts()
    start = {name: value.clone() for name, value in model.old.state_dict().items()}
    scores = iter([0.0, 9.0, 1.0, 1.0, 1.0])  # best at step 5, before the joining at step 10

    result = fit(
        model,
        Watched(model),
        parameters=[{"params": list(model.parameters()), "lr": 0.05}],
        validate=lambda: by_ndcg(next(scores)),
        settings=SETTINGS,
        seed=5,
        checkpoint=tmp_path / "checkpoint.pt",
        description="test",
        late=[model.old],
    )

    assert result.best_step == 5
    for name, value in model.old.state_dict().items():
        assert torch.equal(value, start[name]), name


def test_a_late_part_warms_up_on_its_own() -> None:
    early = [rate_share(step, SETTINGS) for step in range(20)]
    late = [rate_share(step, SETTINGS, joined=10) for step in range(10, 20)]

    assert early[:4] == [0.25, 0.5, 0.75, 1.0]
    assert late[:4] == [share * early[10 + n] for n, share in enumerate([0.25, 0.5, 0.75, 1.0])]
    assert late[4:] == early[14:]
    assert early[4:] == sorted(early[4:], reverse=True)
    assert early[-1] > 0.05


def test_only_the_group_of_a_late_part_joins_late() -> None:
    model = TwoParts()
    late = LateParts([model.old], SETTINGS)

    assert late.joining(list(model.old.parameters())) == 10
    assert late.joining(list(model.new.parameters())) == 0


def test_each_part_learns_at_its_own_rate(tmp_path: Path) -> None:
    model = TwoParts()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    fit(
        model,
        Watched(model),
        parameters=[
            {"params": list(model.old.parameters()), "lr": 1e-4},
            {"params": list(model.new.parameters()), "lr": 1e-2},
        ],
        validate=lambda: by_ndcg(time.monotonic()),
        settings=LoopSettings(steps=1, weight_decay=0, gradient_clip=1e9, warmup_share=0),
        seed=5,
        checkpoint=tmp_path / "checkpoint.pt",
        description="test",
    )

    moved = {
        name: float((value.detach() - before[name]).abs().max())
        for name, value in model.named_parameters()
    }
    assert moved["new.weight"] == pytest.approx(1e-2, rel=0.01)  # Adam's first step is its rate
    assert moved["old.0.weight"] == pytest.approx(1e-4, rel=0.01)
