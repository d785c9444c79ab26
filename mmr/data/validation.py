"""Validation of a dataset: checks, report, and the stop when an error is found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmr.atomic import new_directory, write_json
from mmr.config.data import ValidationConfig
from mmr.data.dataset import Dataset
from mmr.data.sound_images import SoundImages
from mmr.data.validation_checks import build_checks
from mmr.data.validation_engine import CheckResult, run_checks
from mmr.data.validation_frames import compare, dataset_frames
from mmr.errors import ValidationFailedError

FORMAT_VERSION = 1
REPORT_FILE = "validation.json"
DOCS_FOLDER = "data_docs"


@dataclass(frozen=True)
class ValidationReport:
    """What validation found.

    Attributes:
        out: Directory of `validation.json` and `data_docs/index.html`.
        results: One per expectation.
    """

    out: Path
    results: tuple[CheckResult, ...]

    @property
    def errors(self) -> list[CheckResult]:
        """Expectations of severity `error` that do not hold."""
        return self._failed("error")

    @property
    def warnings(self) -> list[CheckResult]:
        """Expectations of severity `warning` that do not hold."""
        return self._failed("warning")

    def _failed(self, severity: str) -> list[CheckResult]:
        return [r for r in self.results if not r.success and r.check.severity == severity]

    def as_metrics(self) -> dict[str, float]:
        """Counts, for a tracker or a pipeline's metrics."""
        return {
            "expectations": len(self.results),
            "failed_errors": len(self.errors),
            "failed_warnings": len(self.warnings),
        }


def validate_dataset(
    dataset: Dataset,
    *,
    out: Path,
    settings: ValidationConfig,
    previous: Dataset | None,
    cache: Path | None = None,
) -> ValidationReport:
    """Checks a dataset and writes the report, which replaces an older one.

    Args:
        dataset: The dataset to check.
        out: Directory for `validation.json` and the Data Docs.
        settings: Bounds and severities.
        previous: The dataset to compare with, if there is one.
        cache: A workspace's cache: photographs that were decoded before are not decoded again.

    Raises:
        ValidationFailedError: An expectation of severity `error` does not hold; the report is
            written before.
    """
    comparison = compare(dataset, previous) if previous else None
    checks = build_checks(settings, [] if comparison is None else list(map(str, comparison)))
    images = SoundImages(cache / "sound-images" / "validate.npz" if cache else None)
    frames = dataset_frames(dataset, images)
    images.keep()
    if comparison is not None:
        frames["comparison"] = comparison
    with new_directory(out, replace=True) as scratch:
        report = ValidationReport(
            out, tuple(run_checks(checks, frames, docs=scratch / DOCS_FOLDER))
        )
        write_json(
            scratch / REPORT_FILE,
            {
                "format_version": FORMAT_VERSION,
                "dataset": dataset.manifest.name,
                "dataset_hash": dataset.manifest.content_hash,
                "previous_hash": previous.manifest.content_hash if previous else None,
                "passed": not report.errors,
                "settings": settings.model_dump(),
                "expectations": [result.as_json() for result in report.results],
            },
        )
    if report.errors:
        raise ValidationFailedError(_message(dataset, report))
    return report


def _message(dataset: Dataset, report: ValidationReport) -> str:
    failed = "\n".join(f"  {result}" for result in report.errors)
    return (
        f"{dataset.path} fails {len(report.errors)} of {len(report.results)} expectations:\n"
        f"{failed}\n"
        f"All rows: {report.out / REPORT_FILE}; to read: {report.out / DOCS_FOLDER}/index.html. "
        "Correct the feed and import again, or lower one to a warning: "
        f"--set severity.{report.errors[0].check.name}=warning"
    )
