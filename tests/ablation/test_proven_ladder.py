"""A ladder whose stages have to prove themselves, climbed on a tiny real shop."""

from __future__ import annotations

from pathlib import Path

from mmr.ablation.run import run_ladder
from mmr.config.run import RunSettings
from mmr.config.techniques import TextAnswerSettings
from tests.ablation.ladder_requests import request_of, stage_of


def test_stages_that_prove_themselves_stand_in_order_and_cost_no_training_of_their_own(
    prepared: Path, settings: RunSettings, tmp_path: Path
) -> None:
    proven = settings.model_copy(
        update={
            part: getattr(settings, part).model_copy(update=changed)
            for part, changed in {
                "vision": {"only_if_better": True},
                "align": {"only_if_better": True},
                # without the losses that the probe goes without, and one that the network has alone
                "fusion": {
                    "only_if_better": True,
                    "auxiliary_weight": 0.0,
                    "text_answers": TextAnswerSettings(weight=0.5, titles=20, depth=6, batch=6),
                },
            }.items()
        }
    )
    names = ("image", "domain", "alignment")
    request = request_of(prepared, proven, tmp_path / "workspace", only=names, seeds=2)
    _, record = run_ladder(request, show=lambda line: None)

    rungs = {rung["name"]: rung for rung in record["rungs"]}
    for name in names:
        gains = rungs[name]["against"]["gain_by_seed"]
        for metric in ("ndcg_at_10", "recall_at_10", "recall_at_100"):
            assert min(gains[metric]) >= -1e-9
    kept = (tmp_path / "workspace" / "cache" / "models").iterdir()
    concatenations = [model for model in kept if stage_of(model) == "train_fusion"]
    measured = {entry["fingerprint"] for name in names for entry in rungs[name]["training"]}
    rejected = sum(
        not stage["kept"]
        for name in names
        for e in rungs[name]["training"]
        for stage in e["stages"]
    )
    assert len(concatenations) <= len(measured) + rejected
