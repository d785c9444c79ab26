"""The pipelines by name, for who compiles them for a cluster.

Apart from `pipelines.compilation`: a run on this machine needs one of them, and building each takes
kfp a second.
"""

from kfp import dsl

from pipelines.refresh import build_refresh
from pipelines.resources import Resources
from pipelines.retrain import build_retrain

_BUILDERS = {"retrain": build_retrain, "refresh": build_refresh}


def build_pipeline(name: str, resources: Resources) -> dsl.base_component.BaseComponent:
    """Builds the pipeline `retrain` or `refresh`; `resources` are those of its heavy steps."""
    return _BUILDERS[name](resources)
