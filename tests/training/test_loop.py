import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmr.config.training import LoopSettings
from mmr.training.loop import FitResult, fit

SETTINGS = LoopSettings(
    steps=24, learning_rate=0.05, validate_every=4, checkpoint_every=5, patience=100
)


class Killed(Exception):
    pass


class Steps:
    """An objective whose batches are the step's number."""

    def __init__(self, loss_at: Callable[[int], Tensor]) -> None:
        self._loss_at = loss_at

    def batch(self, step: int) -> int:
        return step

    def loss(self, batch: int) -> Tensor:
        return self._loss_at(batch)


def problem() -> tuple[nn.Module, Callable[[int], Tensor], Callable[[], float]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    target = data.sum(1, keepdim=True)

    def loss_at(step: int) -> Tensor:
        rows = torch.randint(0, 64, (16,), generator=torch.Generator().manual_seed(step))
        return (model(data[rows]) - target[rows]).square().mean()

    return model, loss_at, lambda: -float((model(data) - target).square().mean())


def train(
    checkpoint: Path, *, kill_at: int | None = None, settings: LoopSettings = SETTINGS
) -> tuple[nn.Module, FitResult]:
    model, loss_at, validate = problem()

    def killing(step: int) -> Tensor:
        if step == kill_at:
            raise Killed
        return loss_at(step)

    result = fit(
        model,
        Steps(killing),
        parameters=[{"params": list(model.parameters()), "lr": settings.learning_rate}],
        validate=validate,
        settings=settings,
        seed=5,
        checkpoint=checkpoint,
        description="test",
    )
    return model, result


@pytest.mark.parametrize("kill_at", [3, 5, 13, 23])
def test_a_killed_run_resumes_to_the_very_weights_of_an_unbroken_one(
    tmp_path: Path, kill_at: int
) -> None:
    unbroken, expected = train(tmp_path / "unbroken.pt")
    with pytest.raises(Killed):
        train(tmp_path / "killed.pt", kill_at=kill_at)

    resumed, result = train(tmp_path / "killed.pt")

    assert result.best_step == expected.best_step
    assert result.best_metric == expected.best_metric
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_best_validated_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    model, loss_at, _validate = problem()
    scores = iter([0.0, 1.0, 5.0, 2.0, 3.0, 1.0, 1.0])
    seen: list[Tensor] = []

    def scripted() -> float:
        seen.append(model[0].weight.detach().clone())  # type: ignore[index]
        return next(scores)

    result = fit(
        model,
        Steps(loss_at),
        parameters=[{"params": list(model.parameters()), "lr": 0.05}],
        validate=scripted,
        settings=SETTINGS,
        seed=5,
        checkpoint=tmp_path / "checkpoint.pt",
        description="test",
    )

    assert result.best_step == 8
    assert torch.equal(model[0].weight, seen[2])  # type: ignore[index]


def test_training_stops_early_when_validation_no_longer_improves(tmp_path: Path) -> None:
    model, loss_at, _ = problem()
    result = fit(
        model,
        Steps(loss_at),
        parameters=[{"params": list(model.parameters()), "lr": 0.05}],
        validate=lambda: 1.0,
        settings=SETTINGS.model_copy(update={"patience": 2}),
        seed=5,
        checkpoint=tmp_path / "checkpoint.pt",
        description="test",
    )

    assert result.steps == 8
    assert result.best_step == 0


def test_frozen_weights_are_neither_changed_nor_put_into_checkpoints(tmp_path: Path) -> None:
    model, loss_at, validate = problem()
    model[0].requires_grad_(False)  # type: ignore[index]
    before = model[0].weight.clone()  # type: ignore[index]
    fit(
        model,
        Steps(loss_at),
        parameters=[{"params": list(model[3].parameters()), "lr": 0.05}],  # type: ignore[index]
        validate=validate,
        settings=SETTINGS,
        seed=5,
        checkpoint=tmp_path / "checkpoint.pt",
        description="test",
    )

    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert torch.equal(before, model[0].weight)  # type: ignore[index]
    assert "0.weight" not in saved["model"]
    assert "3.weight" in saved["model"]


def test_the_share_of_time_spent_waiting_for_data_is_in_history_and_result(tmp_path: Path) -> None:
    model, loss_at, validate = problem()

    class Slow(Steps):
        def batch(self, step: int) -> int:
            time.sleep(0.05)
            return step

    def shares(objective: Steps, name: str) -> tuple[list[float], float]:
        result = fit(
            model,
            objective,
            parameters=[{"params": list(model.parameters()), "lr": 0.05}],
            validate=validate,
            settings=SETTINGS,
            seed=5,
            checkpoint=tmp_path / name,
            description="test",
        )
        return [record["data_wait_share"] for record in result.history], result.data_wait_share

    def long_step(step: int) -> Tensor:
        time.sleep(0.05)
        return loss_at(step)

    starved, starved_share = shares(Slow(loss_at), "slow.pt")
    fed, fed_share = shares(Steps(long_step), "fast.pt")

    assert len(starved) == len(fed) == SETTINGS.steps // SETTINGS.validate_every
    assert all(0 <= share <= 1 for share in [*starved, *fed])
    assert starved_share > 0.3 > fed_share
    assert min(starved) <= starved_share <= max(starved)


def test_compiled_backbones_keep_names_and_losses_and_end_uncompiled() -> None:
    from transformers import ResNetConfig, ResNetModel

    from mmr.config.model import VisionSettings
    from mmr.models.vision import ImageEncoder
    from mmr.training.compilation import compiled

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
    encoder = ImageEncoder(ResNetModel(config), VisionSettings(colour_bins=2))
    model = nn.ModuleDict({"image": encoder})
    pixels = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    names = list(model.state_dict())
    expected = model["image"](pixels)
    before = torch.compiler.get_default_backend()
    torch.compiler.set_default_backend("eager")  # traces graphs, but needs no C++ compiler
    torch._dynamo.utils.counters.clear()
    try:
        with compiled(model, enabled=True):
            torch.testing.assert_close(model["image"](pixels), expected)
            assert list(model.state_dict()) == names
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        model["image"](pixels[:3])
    finally:
        torch.compiler.set_default_backend(before)

    assert graphs >= 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
