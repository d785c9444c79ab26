"""The one door to Great Expectations: runs checks on frames, writes the Data Docs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmr.data.validation_checks import ROW_KEYS, Check, CheckTable
from mmr.errors import ConfigError, DataContractError

MAX_ROWS = 20  # offending rows named per check


@dataclass(frozen=True)
class CheckResult:
    """How one check went.

    Attributes:
        check: The check.
        success: Whether it holds.
        observed: The value found, for checks of one value; else None.
        unexpected: Rows at fault, for checks of rows.
        rows_checked: Rows looked at.
        rows: Keys and values of up to `MAX_ROWS` rows at fault.
    """

    check: Check
    success: bool
    observed: float | None
    unexpected: int
    rows_checked: int
    rows: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The entry of `validation.json`."""
        return {
            "name": self.check.name,
            "table": self.check.table,
            "says": self.check.says,
            "severity": self.check.severity,
            "success": self.success,
            "observed": self.observed,
            "unexpected": self.unexpected,
            "rows_checked": self.rows_checked,
            "rows": self.rows,
        }

    def __str__(self) -> str:
        """Name, finding and rows, for a message."""
        found = f"found {self.observed:g}" if self.observed is not None else ""
        if self.unexpected:
            keys = ROW_KEYS[self.check.table]
            shown = ["/".join(str(row.get(key)) for key in keys) for row in self.rows[:5]]
            more = " …" if self.unexpected > len(shown) else ""
            found = f"{self.unexpected:,} of {self.rows_checked:,} rows: {', '.join(shown)}{more}"
        return f"{self.check.name} ({self.check.table}): {self.check.says} {found}".rstrip()


def run_checks(
    checks: Sequence[Check], frames: Mapping[CheckTable, pd.DataFrame], *, docs: Path
) -> list[CheckResult]:
    """Runs every check on the frame of its table.

    Args:
        checks: The checks, in the order of the results.
        frames: Table to its rows.
        docs: Directory to write the Data Docs (HTML) to.

    Raises:
        ConfigError: Great Expectations is not installed.
        DataContractError: A check could not be carried out.
    """
    gx = import_great_expectations()
    context = gx.get_context(mode="ephemeral")
    _set_up(context, docs)
    source = context.data_sources.add_pandas("dataset")
    results: dict[str, CheckResult] = {}
    for table, frame in frames.items():
        chosen = {check.name: check for check in checks if check.table == table}
        if chosen:
            outcome = _run_suite(gx, context, source, table, list(chosen.values()), frame)
            for found in outcome.results:
                check = chosen[found.expectation_config.meta["check"]]
                results[check.name] = _result(check, found, rows=len(frame))
    context.build_data_docs()
    return [results[check.name] for check in checks if check.name in results]


def import_great_expectations() -> Any:
    """The package `great_expectations`, imported as a quiet guest: without analytics and warnings.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when the package is first imported
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its imports warn of packages that nobody needs here
            import great_expectations as gx
    except ImportError as error:
        raise ConfigError(
            "Validation needs Great Expectations, which is not installed. "
            "Install it with: pip install 'mmr[quality]'"
        ) from error
    return gx


def _set_up(context: Any, docs: Path) -> None:
    """Silences the progress bars, and lets one site alone receive the Data Docs."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.delete_data_docs_site("local_site")  # the default, in a temporary directory
    context.add_data_docs_site(
        site_name="validation",
        site_config={
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(docs.resolve()),
            },
        },
    )


def _run_suite(
    gx: Any, context: Any, source: Any, table: str, checks: list[Check], frame: pd.DataFrame
) -> Any:
    batch = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(name=table, expectations=[_expectation(gx, c) for c in checks])
    definition = gx.ValidationDefinition(name=table, data=batch, suite=context.suites.add(suite))
    checkpoint = gx.Checkpoint(
        name=table,
        validation_definitions=[context.validation_definitions.add(definition)],
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": MAX_ROWS,
            "unexpected_index_column_names": list(ROW_KEYS[checks[0].table]),
        },
    )
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
    return next(iter(run.run_results.values()))


def _expectation(gx: Any, check: Check) -> Any:
    kinds = {
        "not_null": gx.expectations.ExpectColumnValuesToNotBeNull,
        "null": gx.expectations.ExpectColumnValuesToBeNull,
        "unique": gx.expectations.ExpectColumnValuesToBeUnique,
        "between": gx.expectations.ExpectColumnValuesToBeBetween,
        "lengths": gx.expectations.ExpectColumnValueLengthsToBeBetween,
        "in_set": gx.expectations.ExpectColumnValuesToBeInSet,
        "value": gx.expectations.ExpectColumnMaxToBeBetween,  # of a column with one row
    }
    return kinds[check.kind](
        column=check.column,
        severity="critical" if check.severity == "error" else "warning",
        meta={"check": check.name},
        notes=check.says,
        **check.bounds,
    )


def _result(check: Check, found: Any, *, rows: int) -> CheckResult:
    result = found.to_json_dict()["result"]
    if not result and rows:
        raise DataContractError(
            f"The expectation {check.name} could not be checked: {found.exception_info}. "
            "Import the feed again; if that does not help, report it."
        )
    observed = result.get("observed_value")
    return CheckResult(
        check=check,
        success=bool(found.success),
        observed=None if observed is None else float(observed),
        unexpected=int(result.get("unexpected_count") or 0),
        rows_checked=int(result.get("element_count") or rows),
        rows=result.get("partial_unexpected_index_list") or [],
    )
