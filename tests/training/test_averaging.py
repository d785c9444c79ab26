from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmr.config.training import LoopSettings
from mmr.training.averaging import AveragedWeights
from mmr.training.figures import Figures
from mmr.training.loop import FitResult, fit
from tests.training.figures import by_ndcg

SETTINGS = LoopSettings(
    steps=24,
    learning_rate=0.05,
    validate_every=4,
    checkpoint_every=5,
    patience=100,
    ema_decay=0.8,
)


class Killed(Exception):
    pass


class Regression:
    """A small problem whose batches are rows by step."""

    def __init__(self, model: nn.Module, *, kill_at: int | None = None) -> None:
        self._model, self._kill_at = model, kill_at
        self.data = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))

    def batch(self, step: int) -> int:
        return step

    def loss(self, batch: int) -> Tensor:
        if batch == self._kill_at:
            raise Killed
        rows = torch.randint(0, 64, (16,), generator=torch.Generator().manual_seed(batch))
        return (self._model(self.data[rows]) - self.data[rows].sum(1, keepdim=True)).square().mean()


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def train(
    checkpoint: Path, seen: list[Tensor], *, kill_at: int | None = None
) -> tuple[nn.Module, FitResult]:
    model = new_model()
    objective = Regression(model, kill_at=kill_at)

    def validate() -> Figures:
        seen.append(model[0].weight.detach().clone())  # type: ignore[index]
        target = objective.data.sum(1, keepdim=True)
        return by_ndcg(-float((model(objective.data) - target).square().mean()))

    result = fit(
        model,
        objective,
        parameters=[{"params": list(model.parameters()), "lr": 0.05}],
        validate=validate,
        settings=SETTINGS,
        seed=5,
        checkpoint=checkpoint,
        description="test",
    )
    return model, result


def test_averages_follow_the_formula_and_whole_numbers_are_copied() -> None:
    values = {"weight": torch.tensor([1.0]), "seen": torch.tensor(0)}
    average = AveragedWeights(0.5, lambda: values, values)
    expected = 1.0
    for step, weight in enumerate([2.0, 4.0, -1.0, 3.0], start=1):
        values = {"weight": torch.tensor([weight]), "seen": torch.tensor(step)}
        average.update(step)
        decay = min(0.5, step / (10 + step))
        expected = decay * expected + (1 - decay) * weight

    assert average.values["weight"].item() == pytest.approx(expected)
    assert int(average.values["seen"]) == 4


def test_validation_sees_the_averages_and_the_best_of_them_are_kept(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    model, result = train(tmp_path / "checkpoint.pt", seen)

    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    live, averaged = stored["model"]["0.weight"], stored["averaged"]["0.weight"]
    assert not torch.equal(live, averaged)
    assert result.best_step > 0
    place = result.best_step // SETTINGS.validate_every
    assert torch.equal(model[0].weight, seen[place])  # type: ignore[index]


def test_averaging_leaves_the_training_itself_as_it_is(tmp_path: Path) -> None:
    train(tmp_path / "averaged.pt", [])
    model = new_model()
    fit(
        model,
        Regression(model),
        parameters=[{"params": list(model.parameters()), "lr": 0.05}],
        validate=lambda: by_ndcg(0.0),
        settings=SETTINGS.model_copy(update={"ema_decay": 0.0}),
        seed=5,
        checkpoint=tmp_path / "plain.pt",
        description="test",
    )

    averaged = torch.load(tmp_path / "averaged.pt", weights_only=True)["model"]
    plain = torch.load(tmp_path / "plain.pt", weights_only=True)["model"]
    for name, value in plain.items():
        assert torch.equal(value, averaged[name]), name


@pytest.mark.parametrize("kill_at", [7, 13])
def test_a_killed_run_resumes_to_the_very_averages_of_an_unbroken_one(
    tmp_path: Path, kill_at: int
) -> None:
    unbroken, expected = train(tmp_path / "unbroken.pt", [])
    with pytest.raises(Killed):
        train(tmp_path / "killed.pt", [], kill_at=kill_at)

    resumed, result = train(tmp_path / "killed.pt", [])

    assert result.best == expected.best
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
