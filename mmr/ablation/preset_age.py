"""Whether a section of the results page was measured with the preset as it is now."""

from __future__ import annotations

import re

from mmr.config.run import RunSettings, load_settings, preset_names
from mmr.hashing import sha256_json

_TRAINING = {"model", "loss", "text_only", "vision", "align", "fusion"}
_PRESET = re.compile(r"--preset (?P<name>\S+)")
_MARK = re.compile(r"<!-- training settings: (?P<hash>\w+) -->\n\n")
_OLDER = "**Measured before the preset became what it is now.**\n\n"


def training_settings_hash(settings: RunSettings) -> str:
    """Identity of everything in some settings that decides a training, but the seed."""
    return sha256_json(settings.model_dump(mode="json", include=_TRAINING))[:16]


def settings_mark(settings_hash: str) -> str:
    """What a section carries, unseen, of the settings that it was measured with."""
    return f"<!-- training settings: {settings_hash} -->\n\n"


def with_preset_age(section: str) -> str:
    """A section that says so if its preset has changed since it was measured.

    Sections of before they carried a mark count as older; those of a settings file, which may lie
    anywhere, are left as they are.
    """
    section = section.replace(_OLDER, "")
    preset, mark = _PRESET.search(section), _MARK.search(section)
    if preset is None or preset["name"] not in preset_names():
        return section
    today = training_settings_hash(load_settings(preset["name"]))
    if mark is not None and mark["hash"] == today:
        return section
    fence = section.index("```\n", preset.end()) + len("```\n\n")
    return section[:fence] + _OLDER + section[fence:]
