"""The gate where there is a champion: scored anew, out of date, damaged or the candidate itself."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmr.atomic import write_json
from mmr.errors import ArtifactError, CorruptArtifactError
from mmr.evaluation.metrics import METRIC_VERSION, METRICS
from mmr.types import Float32Array
from tests.stages.gate_stand_ins import record, run, write_release

pytestmark = pytest.mark.usefixtures("stand_in_embedding")


def test_a_champion_is_scored_anew_and_decides_while_text_only_is_still_reported(
    tmp_path: Path, dataset: Path
) -> None:
    champion = write_release(tmp_path / "champion", noise=0.05)

    report = run(tmp_path, dataset, candidate=0.5, champion=champion)

    gate = record(tmp_path)
    assert report.decision == "reject"
    assert gate["baseline_name"].startswith("champion ")
    assert set(gate["metrics"]) == {"candidate", "champion", "text_only", "baseline"}
    assert gate["metrics"]["baseline"] == gate["metrics"]["champion"]
    assert gate["comparisons"]["champion"]["overall"]["ndcg_at_10"]["gain"] < 0
    assert gate["comparisons"]["text_only"]["overall"]["ndcg_at_10"]["gain"] > 0


def test_a_champion_of_another_dataset_schema_and_metric_version_is_scored_anew(
    tmp_path: Path, dataset: Path
) -> None:
    """Its stored figures would beat every candidate; they are looked at by nobody."""
    stored = {"overall": dict.fromkeys(METRICS, 0.9999), "slices": {}}
    champion = write_release(
        tmp_path / "champion",
        noise=0.6,
        evidence={
            "primary_metric": "ndcg_at_10",
            "metrics": {"candidate": stored},
            "versions": {"metrics": METRIC_VERSION - 1, "dataset_schema": 0},
        },
    )

    report = run(tmp_path, dataset, champion=champion)

    gate = record(tmp_path)
    assert report.decision == "promote"
    assert report.baseline_name.startswith("champion ")
    # The champion is the text-only stand-in's equal: scored by the same code, they are equal.
    assert gate["metrics"]["champion"] == gate["metrics"]["text_only"]
    assert gate["versions"]["metrics"] == METRIC_VERSION
    said = gate["lineage"]["champion_rescored"]
    assert f"with metrics {METRIC_VERSION}; released on dataset dddddddddddd" in said
    assert said.endswith(f"with metrics {METRIC_VERSION - 1}")


@pytest.mark.parametrize("why", ["model", "release"])
def test_a_champion_that_this_version_cannot_run_holds_the_candidate_for_a_person(
    why: str, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = write_release(tmp_path / "champion", noise=0.6)
    if why == "release":
        file = champion / "release.json"
        file.chmod(0o644)
        write_json(file, {**json.loads(file.read_text()), "format_version": 0})
    else:
        stand_in = sys.modules["mmr.stages.embedding"]
        embed = stand_in.embed_queries

        def refuse_the_old(model: Path, queries: Sequence[str], *, cache: Path) -> Float32Array:
            if champion in model.parents:
                raise ArtifactError("has format 0, but this mmr reads another")
            return embed(model, queries, cache=cache)

        monkeypatch.setattr(stand_in, "embed_queries", refuse_the_old)

    report = run(tmp_path, dataset, champion=champion)

    assert report.decision == "hold"
    assert report.baseline_name == "tuned text-only"
    (reason,) = (reason for reason in report.reasons if not reason.passed)
    assert reason.rule == "champion scored"
    assert "compared with tuned text-only instead" in reason.detail
    assert "format" in reason.detail
    assert set(record(tmp_path)["metrics"]) == {"candidate", "text_only", "baseline"}


def test_a_damaged_champion_stops_the_gate(tmp_path: Path, dataset: Path) -> None:
    champion = write_release(tmp_path / "champion", noise=0.6)
    (champion / "release.json").chmod(0o644)
    (champion / "release.json").write_text("{")
    with pytest.raises(CorruptArtifactError, match="cannot be read"):
        run(tmp_path, dataset, champion=champion)
    assert not (tmp_path / "gate").exists()


def test_a_champion_whose_weights_were_changed_is_not_even_loaded(
    tmp_path: Path, dataset: Path
) -> None:
    champion = write_release(tmp_path / "champion", noise=0.6)
    changed = next(path for path in (champion / "product_encoder").rglob("*") if path.is_file())
    changed.chmod(0o644)
    changed.write_bytes(changed.read_bytes() + b" ")
    with pytest.raises(CorruptArtifactError, match=f"{changed.name} differs from its recorded"):
        run(tmp_path, dataset, champion=champion)
    assert not (tmp_path / "gate").exists()


def test_the_champions_own_encoder_is_held(tmp_path: Path, dataset: Path) -> None:
    champion = write_release(tmp_path / "champion", noise=0.1)

    report = run(tmp_path, dataset, candidate=0.1, champion=champion)

    assert report.decision == "hold"
    assert next(reason.rule for reason in report.reasons if not reason.passed) == "new encoder"
