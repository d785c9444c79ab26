"""Reads what a gate recorded on a release, where every part may be missing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mmr.errors import CorruptArtifactError
from mmr.release.bundle import EVIDENCE, Release

if TYPE_CHECKING:
    import pandas as pd

CANDIDATE, CHAMPION = "candidate", "champion"
_MAX_RECORD_BYTES = 64 << 20
_PRIMARY = "ndcg_at_10"


@dataclass(frozen=True)
class GateEvidence:
    """`gate.json` and the figures per query beside it.

    Attributes:
        directory: Where they lie.
        record: The content of `gate.json`.
    """

    directory: Path
    record: dict[str, Any]

    @classmethod
    def of(cls, release: Release) -> Self:
        """The evidence of a release."""
        return cls.read(release.path / EVIDENCE)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Reads a gate's directory.

        Raises:
            CorruptArtifactError: `gate.json` is missing or cannot be read.
        """
        path = directory / "gate.json"
        try:
            if path.stat().st_size > _MAX_RECORD_BYTES:
                raise ValueError(f"larger than {_MAX_RECORD_BYTES} bytes")
            record = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(record, dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError) as error:
            raise CorruptArtifactError(
                f"{path} cannot be read ({error}). Restore the release from a copy, or run the "
                "gate again."
            ) from error
        return cls(directory, record)

    @property
    def primary_metric(self) -> str:
        """The metric that decided."""
        return str(self.record.get("primary_metric", _PRIMARY))

    @property
    def baseline_name(self) -> str | None:
        """What decided: `champion <release id>` or `tuned text-only`."""
        return self.record.get("baseline_name")

    @property
    def metric_version(self) -> int | None:
        """Of the metrics' meaning; figures of two versions cannot be compared."""
        version = self.record.get("versions", {}).get("metrics")
        return version if isinstance(version, int) else None

    def means(self, system: str) -> dict[str, dict[str, float]]:
        """Means of a system by metric, of all queries (`overall`) and of each slice."""
        found = self.record.get("metrics", {}).get(system, {})
        return {"overall": found.get("overall", {}), **found.get("slices", {})}

    def per_query(self, system: str) -> pd.DataFrame:
        """Metrics of a system by query id; empty where the gate kept none.

        The column `query` holds the text where the gate recorded it.

        Raises:
            CorruptArtifactError: The file cannot be read.
        """
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.directory / "per_query.parquet"
        if not path.is_file():
            return pd.DataFrame(columns=["query_id", self.primary_metric]).set_index("query_id")
        try:
            table: pd.DataFrame = pq.read_table(path).to_pandas()
            return table[table["system"] == system].set_index("query_id").drop(columns="system")
        except (pa.ArrowInvalid, KeyError, OSError) as error:
            raise CorruptArtifactError(
                f"{path} cannot be read ({error}). Restore the release from a copy."
            ) from error
