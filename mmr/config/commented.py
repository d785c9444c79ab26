"""Settings as YAML that explains itself: a comment with meaning and unit above every key."""

from __future__ import annotations

import textwrap

import yaml

from mmr.config.base import Settings

_WIDTH = 98


def commented_yaml(settings: Settings) -> str:
    """Every field in order, its description as a comment; reading it back gives the same settings.

    Args:
        settings: One flat part of the settings, such as the gate's policy.
    """
    values = settings.model_dump(mode="json")
    return "\n".join(
        _comment(field.description or "") + yaml.safe_dump({name: values[name]}, width=_WIDTH)
        for name, field in type(settings).model_fields.items()
    )


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH))
