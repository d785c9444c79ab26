"""The validation step: a dataset is checked before anything is trained on it."""

from __future__ import annotations

from pathlib import Path

from mmr.config.data import ValidationConfig
from mmr.data.dataset import Dataset
from mmr.data.importing import refuse_foreign_target
from mmr.data.validation import REPORT_FILE, ValidationReport, validate_dataset


def validate_data(
    *,
    dataset: Path,
    out: Path,
    settings: ValidationConfig,
    previous: Path | None,
    cache: Path | None = None,
) -> ValidationReport:
    """Checks a dataset by itself and against a previous one.

    Args:
        dataset: The dataset to check.
        out: Directory for `validation.json` and `data_docs/`; an older report is replaced.
        settings: Bounds and severities.
        previous: The dataset of the last run, if there was one.
        cache: A workspace's cache: photographs that were decoded before are not decoded again.

    Raises:
        ValidationFailedError: An expectation of severity `error` does not hold. The report is
            written before.
        ArtifactError: `out` holds something that is no validation report.
        DataContractError: `dataset` or `previous` is no dataset.
    """
    refuse_foreign_target(out, marker=REPORT_FILE, replace=True)
    return validate_dataset(
        Dataset(dataset),
        out=out,
        settings=settings,
        previous=Dataset(previous) if previous else None,
        cache=cache,
    )
