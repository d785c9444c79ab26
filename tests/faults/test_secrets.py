"""Passwords and keys are in no log, no record and no release."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr.errors import ConfigError, TrackingError
from mmr.hashing import files_below, sha256_directory
from mmr.tracking import open_tracking
from mmr.tracking.connection import check_recordable, without_password
from tests.faults import injector, shop
from tests.faults.chain import PATIENCE_S, SECRET
from tests.faults.conftest import TrainedShop

pytestmark = pytest.mark.timeout(PATIENCE_S)


def holding(place: Path, secret: str) -> list[str]:
    """The files below a directory that hold a text, in whatever encoding of one byte a letter."""
    return [
        str(f.relative_to(place)) for f in files_below(place) if secret.encode() in f.read_bytes()
    ]


def test_scan_for_secrets_finds_one(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"password={SECRET}")
    assert holding(tmp_path, SECRET) == ["log"]


def test_no_variable_of_the_environment_is_written_by_a_run(trained_shop: TrainedShop) -> None:
    """It was killed and started again some thirty times with the secret in its environment."""
    assert len(list(trained_shop.place.glob("shop/runs/*/pipeline.log"))) > 20
    assert holding(trained_shop.place, SECRET) == []


@pytest.mark.parametrize("command", ["run", "refresh"])
def test_address_with_a_password_is_refused_before_anything_is_written(
    command: str, trained_shop: TrainedShop, copy_of: Callable[[Path], Path]
) -> None:
    place = copy_of(trained_shop.place)
    before = sha256_directory(place)
    with socket.create_server(("127.0.0.1", 0)) as server:  # nobody answers, nobody is asked
        uri = f"http://ann:{SECRET}@127.0.0.1:{server.getsockname()[1]}"
    arguments = (command, *trained_shop.arguments[1:2], "--tracking-uri", uri)

    outcome = injector.run(shop.command_of_user, place, *arguments, root=place)

    assert "holds a password" in str(outcome.error)
    assert SECRET not in str(outcome.error)
    assert sha256_directory(place) == before


@given(password=st.text(st.characters(codec="ascii", exclude_categories=["Z", "C"]), min_size=8))
def test_no_password_whatever_its_letters_is_shown_or_recorded(password: str) -> None:
    uri = f"postgresql+psycopg2://ann:{password}@host:5432/mlflow"
    shown = without_password(f"failed for {uri} of this machine")

    assert shown == "failed for postgresql+psycopg2://***@host:5432/mlflow of this machine"
    with pytest.raises(ConfigError, match="holds a password"):
        check_recordable(uri)


def test_password_is_not_in_the_error_of_a_store_that_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with pytest.raises(TrackingError, match=r"http://\*\*\*@127\.0\.0\.1:9") as caught:
        open_tracking(f"http://ann:{SECRET}@127.0.0.1:9")
    cause: BaseException | None = caught.value
    assert SECRET not in str(cause)
