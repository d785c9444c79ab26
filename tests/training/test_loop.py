import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmr.config.training import LoopSettings
from mmr.training.figures import Figures
from mmr.training.loop import FitResult, fit
from tests.training.figures import by_ndcg

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


def problem() -> tuple[nn.Module, Callable[[int], Tensor], Callable[[], Figures]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    target = data.sum(1, keepdim=True)

    def loss_at(step: int) -> Tensor:
        rows = torch.randint(0, 64, (16,), generator=torch.Generator().manual_seed(step))
        return (model(data[rows]) - target[rows]).square().mean()

    return model, loss_at, lambda: by_ndcg(-float((model(data) - target).square().mean()))


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
    assert result.best == expected.best
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_best_validated_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    model, loss_at, _validate = problem()
    scores = iter([0.0, 1.0, 5.0, 2.0, 3.0, 1.0, 1.0])
    seen: list[Tensor] = []

    def scripted() -> Figures:
        seen.append(model[0].weight.detach().clone())  # type: ignore[index]
        return by_ndcg(next(scores))

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
        validate=lambda: by_ndcg(1.0),
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


def kept_step(
    tmp_path: Path, measured: list[tuple[float, float, float]], floor: Figures | None
) -> int:
    model, loss_at, _ = problem()
    figures = (Figures(*values) for values in measured)
    result = fit(
        model,
        Steps(loss_at),
        parameters=[{"params": list(model.parameters()), "lr": 0.05}],
        validate=lambda: next(figures),
        settings=SETTINGS.model_copy(update={"steps": 4 * (len(measured) - 1)}),
        seed=5,
        checkpoint=tmp_path / "checkpoint.pt",
        description="test",
        floor=floor,
    )
    assert result.best == Figures(*measured[result.best_step // 4])
    return result.best_step


@pytest.mark.parametrize(
    ("measured", "kept"),
    [
        ([(0.4, 0.4, 0.9), (0.6, 0.5, 0.8), (0.5, 0.5, 0.9), (0.7, 0.5, 0.8)], 8),
        ([(0.4, 0.4, 0.9), (0.5, 0.5, 0.9), (0.6, 0.6, 0.95)], 8),
        ([(0.4, 0.4, 0.9), (0.6, 0.4, 0.9), (0.5, 0.5, 0.9)], 8),
        ([(0.4, 0.4, 0.9), (0.5, 0.4, 0.7), (0.7, 0.4, 0.8), (0.6, 0.4, 0.9)], 8),
    ],
    ids=["recall-at-100", "more-of-all", "recall-at-10", "none-reaches-it"],
)
def test_the_best_step_that_reaches_the_floor_is_kept_and_the_best_of_all_if_none_does(
    tmp_path: Path, measured: list[tuple[float, float, float]], kept: int
) -> None:
    assert kept_step(tmp_path, measured, Figures(0.45, 0.5, 0.9)) == kept


def test_without_a_floor_ndcg_alone_decides_which_step_is_kept(tmp_path: Path) -> None:
    measured = [(0.4, 0.9, 0.9), (0.6, 0.5, 0.8), (0.5, 0.6, 0.9)]

    assert kept_step(tmp_path, measured, None) == 4


def test_a_killed_run_still_knows_that_its_best_step_reached_the_floor(tmp_path: Path) -> None:
    floor = Figures(0.0, 0.5, 0.5)
    measured = [Figures(0.1, 0, 0), Figures(0.2, 0.6, 0.6), Figures(0.9, 0, 0), Figures(0.8, 0, 0)]

    def run(figures: list[Figures], *, kill_at: int | None = None) -> FitResult:
        model, loss_at, _ = problem()
        left = iter(figures)

        def killing(step: int) -> Tensor:
            if step == kill_at:
                raise Killed
            return loss_at(step)

        return fit(
            model,
            Steps(killing),
            parameters=[{"params": list(model.parameters()), "lr": 0.05}],
            validate=lambda: next(left),
            settings=SETTINGS.model_copy(update={"steps": 12, "checkpoint_every": 4}),
            seed=5,
            checkpoint=tmp_path / "checkpoint.pt",
            description="test",
            floor=floor,
        )

    with pytest.raises(Killed):
        run(measured, kill_at=6)
    resumed = run(measured[2:])

    assert (resumed.best_step, resumed.best) == (4, measured[1])
