"""The policy file: what is read is what was meant, and everything else is refused."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from mmr.cli import build_app
from mmr.config.commented import commented_yaml
from mmr.config.gate import GateConfig
from mmr.config.run import load_gate_policy
from mmr.errors import ConfigError
from mmr.evaluation.metrics import METRICS

shares = st.floats(0, 1)
open_shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
budgets = st.none() | st.floats(1e-3, 1e9)
policies = st.fixed_dictionaries(
    {},
    optional={
        "primary_metric": st.sampled_from(METRICS),
        "max_p": open_shares,
        "min_effect": shares,
        "further_effects": st.dictionaries(st.sampled_from(METRICS), shares),
        "floors": st.dictionaries(st.sampled_from(METRICS), shares),
        "slice_margin": shares,
        "slice_margins": st.dictionaries(st.text(min_size=1), shares),
        "prove_slices": st.booleans(),
        "regression_margin": shares,
        "max_regressions": st.none() | st.integers(0, 10**9),
        "min_index_recall": shares,
        "max_parity_distance": st.floats(1e-12, 1e-4),
        "max_latency_p50_ms": budgets,
        "max_latency_p99_ms": budgets,
        "max_data_age_days": budgets,
        "freshness_attribute": st.text(),
    },
)
yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def read(file: Path) -> tuple[GateConfig | None, str]:
    """The policy, or the message that refuses it."""
    try:
        return load_gate_policy(file), ""
    except ConfigError as error:
        return None, str(error)


@settings(deadline=None)
@given(policies)
def test_a_policy_survives_its_commented_yaml_and_its_json(policy: dict) -> None:
    config = GateConfig.model_validate(policy)
    assert GateConfig.model_validate(yaml.safe_load(commented_yaml(config))) == config
    assert GateConfig.model_validate_json(config.model_dump_json()) == config


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from([*GateConfig.model_fields]) | st.text(), yaml_values))
def test_any_yaml_is_a_policy_of_finite_numbers_or_one_clear_refusal(
    tmp_path: Path, content: dict
) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    policy, refusal = read(file)
    if policy is None:
        assert "gate.yaml" in refusal
    else:
        json.dumps(policy.model_dump(mode="json"), allow_nan=False)
        assert set(content) <= set(GateConfig.model_fields)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text() | st.binary())
@example("max_p: 2026-13-45")
@example(b"\x80")
def test_any_bytes_are_a_policy_or_one_clear_refusal(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "gate.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    policy, refusal = read(file)
    assert policy is not None or "gate.yaml" in refusal


@pytest.mark.parametrize(
    "policy",
    [
        {"primary_metric": "map"},
        {"floors": {"map": 0.1}},
        {"floors": {"ndcg_at_10": 1.1}},
        {"floors": {"ndcg_at_10": float("nan")}},
        {"max_p": 0},
        {"max_p": float("nan")},
        {"margin": 0.1},
        {"slice_margins": {"cold start": -0.1}},
        {"max_regressions": -1},
        {"max_latency_p99_ms": 0},
        {"max_latency_p99_ms": float("inf")},
        {"max_parity_distance": 1e-3},
        {"max_data_age_days": -1},
    ],
)
def test_a_wrong_policy_is_refused_before_any_work(policy: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GateConfig.model_validate(policy)


def test_the_printed_policy_explains_every_rule_and_is_the_default(tmp_path: Path) -> None:
    printed = CliRunner().invoke(build_app(), ["gate-policy"]).output

    (tmp_path / "gate.yaml").write_text(printed, encoding="utf-8")
    assert load_gate_policy(tmp_path / "gate.yaml") == GateConfig()
    for name, field in GateConfig.model_fields.items():
        assert f"\n{name}: " in f"\n{printed}"
        assert field.description, f"{name} is not explained"
        assert field.description.split(",")[0][:40] in printed


def test_a_policy_of_a_file_is_printed_with_the_rest_filled_in(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text("max_regressions: 3\n", encoding="utf-8")
    printed = CliRunner().invoke(
        build_app(), ["gate-policy", "--check", str(tmp_path / "gate.yaml")]
    )
    assert yaml.safe_load(printed.output) == {
        **GateConfig().model_dump(mode="json"),
        "max_regressions": 3,
    }
