"""What a dataset must fulfil, as plain definitions: the suites without their engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from mmr.config.data import Severity, ValidationConfig
from mmr.data.dataset import SPLITS
from mmr.errors import ConfigError

CheckTable = Literal["product", "query", "judgement", "dataset", "comparison"]
CheckKind = Literal["not_null", "null", "unique", "between", "lengths", "in_set", "value"]
ROW_KEYS: dict[CheckTable, tuple[str, ...]] = {
    "product": ("product_id",),
    "query": ("query_id",),
    "judgement": ("query_id", "product_id"),
    "dataset": (),
    "comparison": (),
}


@dataclass(frozen=True)
class Check:
    """One expectation.

    Attributes:
        name: Its name in reports and in `ValidationConfig.severity`.
        says: What must hold, for people; with the cure where it is not plain.
        severity: `error` stops the pipeline, `warning` is reported.
        kind: The comparison.
        column: The column it reads.
        bounds: Its parameters, such as `min_value`.
        table: The table it reads.
    """

    name: str
    says: str
    severity: Severity
    kind: CheckKind
    column: str
    bounds: dict[str, Any] = field(default_factory=dict)
    table: CheckTable = field(kw_only=True)


def build_checks(settings: ValidationConfig, comparisons: Sequence[str] = ()) -> list[Check]:
    """All checks, with the severities that the settings ask for.

    Args:
        settings: Bounds and severities.
        comparisons: Columns of the comparison with a previous dataset; none without one.

    Raises:
        ConfigError: `settings.severity` names a check that does not exist.
    """
    checks = [
        *_product_text_checks(settings),
        *_product_image_checks(settings),
        *_query_checks(settings),
        *_judgement_checks(settings),
        *_dataset_checks(),
    ]
    names = {check.name for check in checks}
    checks += [_comparison_check(name, settings) for name in comparisons]
    for name in settings.severity:
        if name not in names and not name.startswith(_COMPARISON_PREFIXES):
            raise ConfigError(
                f"severity names the expectation {name!r}, which does not exist. There are: "
                f"{', '.join(sorted(names))}, and with a previous dataset "
                f"{', '.join(prefix + '…' for prefix in _COMPARISON_PREFIXES)}."
            )
    return [replace(c, severity=settings.severity.get(c.name, c.severity)) for c in checks]


def _product_text_checks(settings: ValidationConfig) -> list[Check]:
    title = {"min_value": settings.min_title_chars, "max_value": settings.max_title_chars}
    with_text = 1 - settings.max_share_without_text
    check = partial(Check, table="product")
    return [
        check("product_id_present", "Every product has an id.", "error", "not_null", "product_id"),
        check("product_id_unique", "No two products share an id.", "error", "unique", "product_id"),
        check(
            "title_length",
            f"A title has {title['min_value']} to {title['max_value']} characters, or none.",
            "warning",
            "lengths",
            "title",
            title,
        ),
        check(
            "text_length",
            f"Title and description have at most {settings.max_text_chars} characters.",
            "warning",
            "between",
            "text_chars",
            {"max_value": settings.max_text_chars},
        ),
        check(
            "products_with_text",
            f"At least {with_text:.0%} of the products have a title or description.",
            "warning",
            "in_set",
            "has_text",
            {"value_set": [True], "mostly": with_text},
        ),
    ]


def _product_image_checks(settings: ValidationConfig) -> list[Check]:
    with_image = 1 - settings.max_share_without_image
    check = partial(Check, table="product")
    return [
        check(
            "products_with_image",
            f"At least {with_image:.0%} of the products have an image.",
            "warning",
            "in_set",
            "has_image",
            {"value_set": [True], "mostly": with_image},
        ),
        check(
            "image_decodes",
            "Every image decodes to its last byte.",
            "error",
            "null",
            "image_problem",
        ),
        check(
            "image_min_size",
            f"The shorter side of every image has at least {settings.min_image_px} pixels.",
            "warning",
            "between",
            "shorter_px",
            {"min_value": settings.min_image_px},
        ),
        check(
            "image_max_size",
            f"The longer side of every image has at most {settings.max_image_px} pixels; "
            "`mmr prepare` scales them.",
            "error",
            "between",
            "longer_px",
            {"max_value": settings.max_image_px},
        ),
    ]


def _query_checks(settings: ValidationConfig) -> list[Check]:
    check = partial(Check, table="query")
    return [
        check("query_id_present", "Every query has an id.", "error", "not_null", "query_id"),
        check("query_id_unique", "No two queries share an id.", "error", "unique", "query_id"),
        check("query_present", "No query is empty.", "error", "not_null", "query"),
        check(
            "query_length",
            f"A query has at most {settings.max_query_chars} characters.",
            "warning",
            "between",
            "query_chars",
            {"max_value": settings.max_query_chars},
        ),
        check(
            "split_known",
            f"Every query is in {', '.join(SPLITS)}; `mmr prepare` splits.",
            "error",
            "in_set",
            "split",
            {"value_set": list(SPLITS)},
        ),
        check(
            "no_query_in_two_splits",
            "Queries that are equal once normalised share one split, or the evaluation leaks.",
            "error",
            "between",
            "splits_of_query",
            {"max_value": 1},
        ),
    ]


def _judgement_checks(settings: ValidationConfig) -> list[Check]:
    check = partial(Check, table="judgement")
    known = {"value_set": [True]}
    return [
        check(
            "judged_query_known", "Judged queries exist.", "error", "in_set", "query_known", known
        ),
        check(
            "judged_product_known",
            "Judged products exist.",
            "error",
            "in_set",
            "product_known",
            known,
        ),
        check(
            "grade_range",
            f"Grades are from {settings.min_grade} to {settings.max_grade}.",
            "error",
            "between",
            "grade",
            {"min_value": settings.min_grade, "max_value": settings.max_grade},
        ),
        check("judged_once", "No query judges a product twice.", "error", "unique", "pair"),
        check(
            "cold_start_kept_out",
            "No train judgement has a product that is declared cold start.",
            "error",
            "in_set",
            "cold_start_in_train",
            {"value_set": [False]},
        ),
    ]


def _dataset_checks() -> list[Check]:
    def at_least_one(name: str, says: str, column: str) -> Check:
        return Check(name, says, "error", "value", column, {"min_value": 1}, table="dataset")

    return [
        at_least_one("catalogue_not_empty", "The catalogue has a product.", "products"),
        at_least_one(
            "train_judged",
            "The train split has a judgement above grade 0; training needs them. "
            "Import with --queries FILE and --judgements FILE.",
            "train_judgements",
        ),
        at_least_one(
            "validation_judged",
            "The validation split has a judgement above grade 0; the gate needs them. "
            "Import with --queries FILE and --judgements FILE.",
            "validation_judgements",
        ),
    ]


_ROWS, _NULLS, _LENGTH, _COVERAGE = (
    "row_ratio_",
    "null_share_increase_",
    "text_length_change",
    "image_coverage_drop",
)
_COMPARISON_PREFIXES = (_ROWS, _NULLS, _LENGTH, _COVERAGE)


def _comparison_check(name: str, settings: ValidationConfig) -> Check:
    """The check of one measure of `validation_frames.compare`."""
    bounds: dict[str, Any]
    if name.startswith(_ROWS):
        bounds = {"min_value": settings.min_row_ratio, "max_value": settings.max_row_ratio}
        says = (
            f"The {name.removeprefix(_ROWS)} are {settings.min_row_ratio:g} to "
            f"{settings.max_row_ratio:g} times as many as in the previous dataset."
        )
    elif name.startswith(_NULLS):
        bounds = {"max_value": settings.max_null_share_increase}
        says = (
            f"The share of empty {name.removeprefix(_NULLS)} rises by at most "
            f"{settings.max_null_share_increase:g} against the previous dataset."
        )
    elif name == _LENGTH:
        most = settings.max_text_length_change
        bounds = {"min_value": -most, "max_value": most}
        says = f"The mean text length changes by at most {most:.0%} of the previous dataset's."
    else:
        bounds = {"max_value": settings.max_image_coverage_drop}
        says = (
            "The share of products with an image falls by at most "
            f"{settings.max_image_coverage_drop:g} against the previous dataset."
        )
    return Check(name, says, "warning", "value", name, bounds, table="comparison")
