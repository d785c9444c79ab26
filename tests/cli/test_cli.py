"""The console script: fast help, one line for each error, honest exit statuses."""

import errno
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import pytest
import typer

from mmr import __version__, cli
from mmr.errors import DataContractError

HEAVY = (
    "accelerate",
    "faiss",
    "great_expectations",
    "kfp",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "starlette",
    "torch",
    "transformers",
    "tritonclient",
    "uvicorn",
)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def app_that_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[BaseException], None]:
    """Makes the console script run one command that raises."""

    def install(error: BaseException) -> None:
        app = typer.Typer()

        @app.command()
        def fail() -> NoReturn:
            raise error

        monkeypatch.setattr(cli, "build_app", lambda: app)
        monkeypatch.setattr(sys, "argv", ["mmr"])

    return install


def _exit_status() -> object:
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_building_the_help_imports_nothing_heavy() -> None:
    done = _python(
        "import sys; sys.argv = ['mmr', '--help']\n"
        "from mmr.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )

    assert done.stdout.endswith("HEAVY []\n"), done.stdout + done.stderr


def test_help_lists_the_commands_of_every_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmr", "--help"], capture_output=True, text=True, check=True
    )

    for command in (
        "showroom",
        "import",
        "prepare",
        "validate",
        "evaluate",
        "run",
        "refresh",
        "schedule",
        "compile",
    ):
        assert f" {command} " in done.stdout
    for command in ("serve", "deploy", "search"):
        assert f" {command} " in done.stdout


def test_every_command_shows_examples_that_name_it() -> None:
    for command in cli.build_app().registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert command.callback.__doc__, name
        assert "Examples" in (command.epilog or ""), name
        assert f"mmr {name}" in (command.epilog or ""), name


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmr", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"mmr {__version__}\n"


def test_error_for_the_user_is_one_line_on_stderr(
    app_that_raises: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    app_that_raises(DataContractError("feed.csv has no column 'title'. Map one with --map."))

    assert _exit_status() == 1
    assert capsys.readouterr() == (
        "",
        "error: feed.csv has no column 'title'. Map one with --map.\n",
    )


def test_full_disk_names_the_file_and_the_cure(
    app_that_raises: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    app_that_raises(OSError(errno.ENOSPC, "No space left on device", "index.faiss"))

    assert _exit_status() == 1
    message = capsys.readouterr().err
    assert message.startswith("error: The disk is full while writing index.faiss.")
    assert "Free some space" in message


def test_interruption_exits_with_the_status_that_shells_expect(
    app_that_raises: Callable[[BaseException], None],
) -> None:
    app_that_raises(KeyboardInterrupt())

    assert _exit_status() == 130


def test_a_bug_is_not_disguised(app_that_raises: Callable[[BaseException], None]) -> None:
    app_that_raises(ZeroDivisionError("division by zero"))

    with pytest.raises(ZeroDivisionError):
        cli.main()
