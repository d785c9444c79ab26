"""The commands import, prepare and validate, one after the other."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mmr.cli_data import register
from mmr.errors import ConfigError, DataContractError


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    return app


def feed(folder: Path) -> Path:
    rows = [{"sku": i, "title": f"Title {i}"} for i in range(60)]
    queries = [{"query_id": i, "query": f"Query {i % 50}"} for i in range(60)]
    judgements = [{"query_id": i, "product_id": i} for i in range(60)]
    folder.mkdir()
    for name, table in (("products", rows), ("queries", queries), ("judgements", judgements)):
        text = "".join(json.dumps(row) + "\n" for row in table)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


def test_a_feed_becomes_a_checked_dataset(tmp_path: Path, app: typer.Typer) -> None:
    runner = CliRunner()
    source, imported, prepared = feed(tmp_path / "feed"), tmp_path / "one", tmp_path / "two"

    def call(*arguments: object) -> str:
        result = runner.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    text = call("import", source, "--out", imported, "--map", "product_id=sku")
    assert "60 products (60 without image), 60 queries, 60 judgements" in text
    text = call("prepare", imported, "--out", prepared, "--cold-start-share", 0.3)
    assert "split computed" in text
    assert "linked" in call(
        *("prepare", prepared, "--out", tmp_path / "three", "--cold-start-share", 0.3)
    )
    text = call("validate", prepared, "--out", tmp_path / "report", "--previous", imported)
    assert "warning: products_with_image" in text
    assert "data_docs/index.html" in text


def test_wrong_settings_are_told_before_any_work(tmp_path: Path, app: typer.Typer) -> None:
    def call(*arguments: str) -> None:
        CliRunner().invoke(app, arguments, catch_exceptions=False)

    out = str(tmp_path / "out")
    with pytest.raises(ConfigError, match="--map 'title' is not of the form NAME=VALUE"):
        call("import", "feed", "--out", out, "--map", "title")
    with pytest.raises(ConfigError, match=r"columns\.titel.*should be 'product_id'"):
        call("import", "feed", "--out", out, "--map", "titel=x")
    with pytest.raises(ConfigError, match=r"must add up to 1, not 1\.1"):
        call("prepare", "dataset", "--out", out, "--train-share", "0.9")
    with pytest.raises(ConfigError, match=r"min_image_pxx: .*not permitted"):
        call("validate", "dataset", "--out", out, "--set", "min_image_pxx=1")
    with pytest.raises(DataContractError, match="is not a dataset"):
        call("validate", str(tmp_path), "--out", out)


def test_registering_the_commands_loads_nothing_heavy() -> None:

    code = (
        "import sys, typer, mmr.cli_data; mmr.cli_data.register(typer.Typer());"
        "print([n for n in ('great_expectations', 'pandas', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
