"""All settings of one run, and the presets that ship with mmr."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError

from mmr.config.base import Settings
from mmr.config.data import PrepareConfig, ValidationConfig
from mmr.config.gate import GateConfig
from mmr.config.index import IndexConfig
from mmr.config.licences import LicenceSettings
from mmr.config.model import FusionKind, ModelSettings
from mmr.config.monitor import MonitorConfig
from mmr.config.training import (
    AlignStage,
    AlignStageSettings,
    EndToEndStage,
    EndToEndStageSettings,
    FusionStage,
    FusionStageSettings,
    LossSettings,
    TextOnlyStage,
    TextOnlyStageSettings,
    VisionStage,
    VisionStageSettings,
)
from mmr.errors import ConfigError


class RunSettings(Settings):
    """Everything that decides a run, from preparation to the index."""

    seed: int = Field(7, description="Seeds batches, weights and dropout of every stage.")
    prepare: PrepareConfig = PrepareConfig()
    validation: ValidationConfig = ValidationConfig()
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    text_only: TextOnlyStage = TextOnlyStage()
    vision: VisionStage = VisionStage()
    align: AlignStage = AlignStage()
    fusion: FusionStage = FusionStage()
    gate: GateConfig = GateConfig()
    index: IndexConfig = IndexConfig()
    licences: LicenceSettings = LicenceSettings()

    @property
    def text_only_stage(self) -> TextOnlyStageSettings:
        """All that decides the text-only towers."""
        return TextOnlyStageSettings(
            model=self.model, loss=self.loss, seed=self.seed, stage=self.text_only
        )

    @property
    def vision_stage(self) -> VisionStageSettings:
        """All that decides stage A."""
        return VisionStageSettings(
            model=self.model,
            loss=self.loss,
            seed=self.seed,
            stage=self.vision,
            probe=self._probe if self.vision.only_if_better else None,
        )

    @property
    def align_stage(self) -> AlignStageSettings:
        """All that decides stage B."""
        return AlignStageSettings(
            model=self.model,
            loss=self.loss,
            seed=self.seed,
            stage=self.align,
            probe=self._probe if self.align.only_if_better else None,
        )

    @property
    def _probe(self) -> FusionStage:
        """Stage C with the plainest fusion that learns, to tell good towers from better ones."""
        plain = {
            "kind": FusionKind.CONCAT,
            "only_if_better": False,
            "auxiliary_weight": 0.0,
            "image_only_steps": 0,
            "text_answers": self.fusion.text_answers.model_copy(update={"weight": 0.0}),
        }
        return self.fusion.model_copy(update=plain)

    @property
    def fusion_stage(self) -> FusionStageSettings:
        """All that decides stage C."""
        return FusionStageSettings(
            model=self.model,
            loss=self.loss,
            seed=self.seed,
            stage=self.fusion,
            probe=self._probe if self.fusion.only_if_better else None,
        )

    @property
    def end_to_end_stage(self) -> EndToEndStageSettings:
        """All that decides training end to end: rates, batches and weights are those of the stages.

        Its number of steps is that of stage B; whoever compares gives it the compute of A and B.
        """
        loop = self.vision.loop.model_copy(update={"steps": self.align.loop.steps})
        return EndToEndStageSettings(
            model=self.model,
            loss=self.loss,
            seed=self.seed,
            stage=EndToEndStage(
                kind=self.fusion.kind,
                loop=loop,
                text_learning_rate=self.text_only.loop.learning_rate,
                fusion_learning_rate=self.fusion.loop.learning_rate,
                batch=self.align.batch,
                auxiliary_weight=self.fusion.auxiliary_weight,
                augment=self.align.augment,
                images_at_once=self.align.images_at_once,
                techniques=self.fusion.techniques,
            ),
        )


def preset_names() -> list[str]:
    """Names of the presets that ship with mmr."""
    folder = files("mmr.config").joinpath("presets")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir())


def load_settings(preset_or_path: str) -> RunSettings:
    """Reads a preset by its name, or a YAML file of the same form.

    Raises:
        ConfigError: There is no such preset or file, or a setting is unknown or out of range.
    """
    path = Path(preset_or_path)
    if preset_or_path in preset_names():
        text = files("mmr.config").joinpath("presets", f"{preset_or_path}.yaml").read_text("utf-8")
    elif path.is_file():
        text = _read(path)
    else:
        raise ConfigError(
            f"{preset_or_path!r} is neither a preset ({', '.join(preset_names())}) nor a file."
        )
    return _parse(text, preset_or_path, RunSettings)


def load_gate_policy(path: Path) -> GateConfig:
    """Reads a policy of the gate (`gate.yaml`): the fields of `GateConfig`, nothing else.

    Raises:
        ConfigError: There is no such file, or a rule is unknown or out of range.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file. Give a YAML file with the gate's policy.")
    return _parse(_read(path), str(path), GateConfig)


def load_monitor_settings(path: Path) -> MonitorConfig:
    """Reads the limits of `mmr monitor`: the fields of `MonitorConfig`, nothing else.

    Raises:
        ConfigError: There is no such file, or a field is unknown or out of range.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file. Give a YAML file with the limits.")
    return _parse(_read(path), str(path), MonitorConfig)


_Parsed = TypeVar("_Parsed", bound=Settings)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from error


def _parse(text: str, name: str, kind: type[_Parsed]) -> _Parsed:
    try:
        content: Any = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as the date 2026-13-45
        raise ConfigError(f"{name} is not valid YAML: {error}") from error
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise ConfigError(f"{name}: {problems}") from error
