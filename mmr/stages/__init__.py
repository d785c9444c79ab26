"""One function per pipeline step; the command line, DVC, KFP and the tests call the same one.

A stage takes paths and settings, writes only where told (under a temporary name, renamed when
whole, so a retry is safe) and returns a frozen report. It reads no environment variable and knows
neither KFP nor DVC. Each stage's module is imported when the stage is first asked for, so that a
step that needs no torch never loads it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmr.stages.align_queries import align_queries
    from mmr.stages.build_index import build_index
    from mmr.stages.check_refresh import check_refresh
    from mmr.stages.embed_catalogue import embed_catalogue
    from mmr.stages.embed_changes import embed_changes
    from mmr.stages.evaluate_gate import evaluate_gate
    from mmr.stages.evaluate_release import evaluate_release
    from mmr.stages.explain import explain
    from mmr.stages.find_champion import find_champion
    from mmr.stages.finetune_vision import finetune_vision
    from mmr.stages.import_data import import_data
    from mmr.stages.monitor import monitor
    from mmr.stages.prepare import prepare
    from mmr.stages.register_release import register_release
    from mmr.stages.showroom import render_showroom
    from mmr.stages.train_end_to_end import train_end_to_end
    from mmr.stages.train_fusion import train_fusion
    from mmr.stages.train_text_only import train_text_only
    from mmr.stages.validate_data import validate_data

__all__ = [
    "align_queries",
    "build_index",
    "check_refresh",
    "embed_catalogue",
    "embed_changes",
    "evaluate_gate",
    "evaluate_release",
    "explain",
    "find_champion",
    "finetune_vision",
    "import_data",
    "monitor",
    "prepare",
    "register_release",
    "render_showroom",
    "train_end_to_end",
    "train_fusion",
    "train_text_only",
    "validate_data",
]

_MODULES = {name: name for name in __all__} | {"render_showroom": "showroom"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


class _Stages(ModuleType):
    """Keeps a stage's name for its function.

    Importing `mmr.stages.build_index` makes Python bind that module as `stages.build_index`, over
    the function of the same name; here the function wins.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Stages
