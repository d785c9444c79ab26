"""How torch's threads wait is decided before torch is loaded, and by the user where they say so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_SAYS = "import mmr, os; print(os.environ.get('GOMP_SPINCOUNT'))"


@pytest.mark.parametrize(
    ("of_user", "expected"),
    [
        ({}, "3000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
    ],
    ids=["default", "count of the user", "policy of the user"],
)
def test_waiting_threads_spin_little_unless_the_user_wants_otherwise(
    of_user: dict[str, str], expected: str
) -> None:
    ours = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {k: v for k, v in os.environ.items() if k not in ours} | of_user

    done = subprocess.run(
        [sys.executable, "-c", _SAYS], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == expected


def test_mmr_itself_loads_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import mmr, sys; print('torch' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "False"
