"""How long tests wait for golden queries: the machine may be busy, and speed is not the point."""

from serving.settings import DeploySettings

PATIENT = DeploySettings(max_median_ms=30_000)
