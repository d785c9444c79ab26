"""Tokenizers of text backbones, each with the cleaning that its checkpoint was trained with."""

from __future__ import annotations

from typing import Any

from tokenizers import Regex, normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mmr.errors import ConfigError
from mmr.models.backbones import checkpoint_json, open_clip_description

_PUNCTUATION = r"[!-/:-@\[-`{-~]"


def pretrained_tokenizer(location: str, *, siglip: bool) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a checkpoint, which pads on the right.

    SigLIP learnt from lower-case text, its first generation without punctuation too. transformers
    does that in Python code around the tokenizer or not at all; here it becomes part of the
    tokenizer, so that the served `tokenizer.json` does the same without Python code.

    Args:
        location: Directory or hub name.
        siglip: Whether the backbone is SigLIP's.

    Raises:
        ConfigError: There is no tokenizer that can be served, or it cannot pad.
    """
    try:
        tokenizer = _siglip(location) if siglip else AutoTokenizer.from_pretrained(location)
    except (OSError, ValueError, ImportError) as error:
        raise ConfigError(
            f"The tokenizer of {location} cannot be loaded ({str(error).splitlines()[0]}). Put a "
            "tokenizer.json there."
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ConfigError(
            f"The tokenizer of {location} has no fast form (tokenizer.json), which serving needs. "
            "Name a checkpoint that has one."
        )
    if tokenizer.pad_token_id is None:
        raise ConfigError(
            f"The tokenizer of {location} names no padding token, so texts of different length "
            "cannot be read together. Set `pad_token` in its tokenizer_config.json."
        )
    tokenizer.padding_side = "right"
    return tokenizer


def _siglip(location: str) -> PreTrainedTokenizerBase:
    described = open_clip_description(location)
    text = described["model_cfg"]["text_cfg"] if described else {}
    home = location
    if checkpoint_json(location, "tokenizer.json") is None and "hf_tokenizer_name" in text:
        home = text["hf_tokenizer_name"]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(home)
    kind = (checkpoint_json(home, "tokenizer_config.json") or {}).get("tokenizer_class")
    clean = text.get("tokenizer_kwargs", {}).get("clean")
    bare = clean == "canonicalize" or (described is None and kind == "SiglipTokenizer")
    _clean_first(tokenizer.backend_tokenizer, bare=bare)
    return tokenizer


def _clean_first(tokenizer: Any, *, bare: bool) -> None:
    """Puts cleaning before whatever the tokenizer does by itself; a second time changes nothing.

    Args:
        tokenizer: Of the `tokenizers` library.
        bare: Also removes punctuation, and makes each run of white space one space.
    """
    steps: list[Any] = [normalizers.Lowercase()]
    if bare:
        steps += [
            normalizers.Replace("_", " "),
            normalizers.Replace(Regex(_PUNCTUATION), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    if tokenizer.normalizer is not None:
        steps.append(tokenizer.normalizer)
    tokenizer.normalizer = normalizers.Sequence(steps)
