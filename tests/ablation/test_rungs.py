"""Ladders as data: every rung fits every preset, changes it, and shares what it can."""

from __future__ import annotations

import pytest

from mmr.ablation.chains import chain_of
from mmr.ablation.ladders import LADDERS, find_ladder
from mmr.ablation.run import plan_ladder
from mmr.ablation.rungs import Rung, Step, chosen_rungs, overridden, step_settings
from mmr.ablation.technique_rungs import technique_rungs
from mmr.ablation.techniques import TECHNIQUES
from mmr.ablation.vision_sizes import larger_vision
from mmr.config.model import FusionKind, VisionSettings
from mmr.config.run import RunSettings, load_settings, preset_names
from mmr.errors import ConfigError

PRESETS = preset_names()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("ladder", LADDERS)
def test_every_ladder_can_be_planned_for_every_preset(ladder: str, preset: str) -> None:
    settings = load_settings(preset)
    planned = plan_ladder(ladder, settings)
    rungs = {entry.rung.name: entry.rung for entry in planned}

    assert len(rungs) == len(planned)
    assert next(iter(rungs.values())).steps == (Step.TEXT_ONLY,)
    assert all(rung.against in rungs for rung in list(rungs.values())[1:])
    systems = {(chain_of(rung, rungs, settings, 7)[-1].key, rung.view) for rung in rungs.values()}
    assert len(systems) == len(rungs), "two rungs are the same system"


def test_the_paper_ladder_trains_each_shared_stage_once() -> None:
    planned = plan_ladder("paper", RunSettings())

    assert {entry.rung.name: entry.own for entry in planned} == {
        "text-only": ["text_only"],
        "image": ["finetune_vision", "train_fusion"],
        "domain": ["finetune_vision", "train_fusion"],
        "alignment": ["align_queries", "train_fusion"],
        "fusion": ["train_fusion"],
    }
    assert [entry.rung.against for entry in planned[1:]] == [
        "text-only",
        "image",
        "domain",
        "alignment",
    ]


def test_the_untuned_rung_takes_no_step_in_the_vision_stage() -> None:
    rungs = {rung.name: rung for rung in find_ladder("paper").build(RunSettings())}
    settings = step_settings(rungs["image"], Step.VISION, RunSettings())

    assert settings.model_dump()["stage"]["loop"]["steps"] == 0


def test_the_fusion_ladder_holds_every_fusion_from_the_same_aligned_towers() -> None:
    planned = plan_ladder("fusion", RunSettings())

    kinds = [entry.rung.overrides["fusion.kind"] for entry in planned[1:]]
    assert sorted(kinds) == sorted(FusionKind)
    assert kinds[0] is FusionKind.MEAN
    assert all(entry.own == ["train_fusion"] for entry in planned[2:])


def _rungs(settings: RunSettings) -> dict[str, Rung]:
    rungs = technique_rungs(settings, whole="preset", text="text-only")
    return {rung.name: rung for rung in rungs}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda technique: technique.name)
def test_a_technique_changes_the_preset_in_the_stages_that_it_names(technique, preset: str) -> None:  # type: ignore[no-untyped-def]
    settings = load_settings(preset)
    rungs = _rungs(settings)
    rung = rungs[technique.name]
    plain = rungs.get(str(rung.against), Rung("preset", "", ""))
    changed = [
        step
        for step in technique.steps
        if step_settings(rung, step, settings) != step_settings(plain, step, settings)
    ]

    if rung.teacher:  # what it learns from is known once that is trained
        assert technique.first is Step.FUSION
        return
    assert changed, "the rung would measure the preset against itself"
    assert min(changed, key=list(Step).index) is technique.first


def test_a_technique_is_taken_away_where_the_preset_has_it_and_added_where_not() -> None:
    on = RunSettings()
    off = overridden(on, {"fusion.auxiliary_weight": 0.0})

    assert _rungs(on)["gradient-blending"].title == "− gradient-blending"
    assert _rungs(off)["gradient-blending"].title == "+ gradient-blending"


def test_what_acts_in_a_or_b_alone_is_measured_with_both_kept_where_they_may_be_left_out() -> None:
    settings = load_settings("laptop")
    assert settings.vision.only_if_better
    rungs = _rungs(settings)

    beside_kept = {name for name, rung in rungs.items() if rung.against == "preset-kept"}
    assert beside_kept == {
        "augmentation",
        "large-batches",
        "vision-ema",
        "unfreezing",
        "separate-rates",
        "hard-negatives.align",
        "kept-domain-loss",
    }
    for name in {*beside_kept, "preset-kept"}:
        changed = overridden(settings, rungs[name].overrides)
        assert not changed.vision.only_if_better
        assert not changed.align.only_if_better
    assert rungs["preset-kept"].against == "preset"
    assert rungs["colour-path"].against == "preset"


def test_a_preset_that_keeps_a_and_b_anyway_has_no_second_reference() -> None:
    settings = RunSettings()
    assert not settings.vision.only_if_better
    rungs = _rungs(settings)

    assert "preset-kept" not in rungs
    assert rungs["augmentation"].against == "preset"


def test_toggling_twice_leads_back() -> None:
    settings = RunSettings()
    for technique in TECHNIQUES:
        rung = _rungs(settings)[technique.name]
        if rung.teacher or callable(technique.on):
            continue
        toggled = overridden(settings, rung.overrides)
        back = _rungs(toggled)[technique.name]
        assert back.title[0] != rung.title[0], technique.name


def test_a_large_batch_costs_as_many_photographs_as_the_presets_own() -> None:
    settings = load_settings("laptop")
    own = settings.vision
    stage = overridden(settings, _rungs(settings)["large-batches"].overrides).vision

    difference = stage.batch_size * stage.loop.steps - own.batch_size * own.loop.steps
    assert stage.batch_size > own.batch_size
    assert abs(difference) < stage.batch_size  # less than one step of it
    assert stage.images_at_once == own.batch_size


def test_a_technique_of_the_text_towers_is_measured_on_them_alone() -> None:
    planned = plan_ladder("techniques", RunSettings())
    found = {entry.rung.name: entry for entry in planned}

    assert found["hard-negatives.text"].own == ["text_only"]
    assert found["hard-negatives.text"].rung.against == "text-only"
    assert found["hard-negatives.fusion"].own == ["train_fusion"]
    assert found["hard-negatives.fusion"].rung.against == "preset"
    assert found["distillation"].own == ["train_fusion"]
    assert found["matryoshka-half"].own == []


def test_half_the_dimensions_are_measured_with_principal_axes_without_and_by_matryoshka() -> None:
    settings = load_settings("laptop")
    rungs = _rungs(settings)

    turned, unturned, matryoshka = (
        overridden(settings, rungs[name].overrides)
        for name in ("preset-half", "unturned-half", "matryoshka-half")
    )
    assert turned.fusion.principal_axes
    assert not unturned.fusion.principal_axes
    assert not matryoshka.fusion.principal_axes
    assert matryoshka.loss.matryoshka_dims
    assert {rungs[name].against for name in ("unturned-half", "matryoshka-half")} == {"preset-half"}


def test_the_text_only_towers_are_shared_when_the_vision_network_changes() -> None:
    settings = RunSettings()
    rungs = {rung.name: rung for rung in find_ladder("vision-size").build(settings)}

    larger = chain_of(rungs["larger-untuned"], rungs, settings, 7)
    small = chain_of(rungs["small-tuned"], rungs, settings, 7)

    assert larger[0].key == small[0].key
    assert larger[1].key != small[1].key


def test_a_larger_network_is_wider_or_the_next_published_size() -> None:
    built = VisionSettings(architecture={"model_type": "resnet", "hidden_sizes": [8, 16]})
    named = VisionSettings(backbone="openai/clip-vit-base-patch32", height=224, width=224)
    unknown = VisionSettings(backbone="a-model-of-ones-own")

    assert larger_vision(built)["model.vision.architecture"]["hidden_sizes"] == [16, 32]
    assert larger_vision(named)["model.vision.backbone"] == "openai/clip-vit-large-patch14"
    with pytest.raises(ConfigError, match="a-model-of-ones-own"):
        larger_vision(unknown)


@pytest.mark.parametrize("ladder", ["fusion", "techniques", "vision-size"])
def test_ladders_that_ask_what_something_is_worth_measure_it_as_it_is(ladder: str) -> None:
    settings = load_settings("laptop")

    rungs = {rung.name: rung for rung in find_ladder(ladder).build(settings)}

    fusions = [
        link.settings
        for rung in rungs.values()
        if rung.against  # the preset itself is as it ships
        for link in chain_of(rung, rungs, settings, 7)
        if link.step is Step.FUSION
    ]
    assert fusions
    assert all(fusion.probe is None for fusion in fusions)  # nothing is drawn back or left out


def test_overrides_reach_no_step_before_the_first_one() -> None:
    settings = RunSettings()
    rung = Rung("r", "", "", overrides={"loss.scale": 5.0}, first=Step.ALIGN)

    scales = [step_settings(rung, step, settings).loss.scale for step in list(Step)[:4]]
    assert scales == [settings.loss.scale, settings.loss.scale, 5.0, 5.0]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"fusion.kid": "mean"}, r"fusion\.kid"),
        ({"nothing.at.all": 1}, r"nothing\.at\.all"),
        ({"fusion.kind": "telepathy"}, r"fusion\.kind"),
        ({"fusion.text_dropout": 2.0}, r"fusion\.text_dropout"),
    ],
)
def test_an_override_that_fits_no_setting_is_named(
    overrides: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        overridden(RunSettings(), overrides)


def test_only_brings_the_reference_and_the_baseline_along() -> None:
    settings = RunSettings()
    ladder = find_ladder("robustness")

    names = [rung.name for rung in chosen_rungs(ladder, settings, ["no-text"])]
    assert names == ["text-only", "image-only", "no-text"]


def test_an_unknown_ladder_or_rung_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"'stairs'.*paper"):
        find_ladder("stairs")
    with pytest.raises(ConfigError, match=r"'roof'.*alignment"):
        chosen_rungs(find_ladder("paper"), RunSettings(), ["roof"])
