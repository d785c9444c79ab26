"""`mmr schedule`: what cron, systemd and a real HTTP server in Kubeflow's shape receive."""

import json
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from mmr.workspace import Workspace
from pipelines.kubeflow import KubeflowServer
from pipelines.refresh import refresh
from pipelines.retrain import retrain
from tests.pipelines.conftest import FakeKubeflow, Run

CLUSTER = (
    *("--to", "kubeflow", "--workspace", "/mnt/mmr/shop", "--cron", "30 2 * * 7"),
    *("--tracking-uri", "http://mlflow:5000"),
)


def test_refresh_recurs_on_kubeflow_with_volume_parameters_and_one_run_at_a_time(
    mmr: Run, kubeflow: FakeKubeflow
) -> None:
    status, out, err = mmr(
        "schedule",
        "refresh",
        "/mnt/mmr/feed",
        *CLUSTER,
        "--host",
        kubeflow.url,
        *("--set", "max_removed_share=0.3", "--token", "a-secret"),
    )

    assert status == 0, err
    assert "mmr-refresh-shop recurs at 0 30 2 * * 0 (UTC)" in out
    assert "a-secret" not in out + err
    assert set(kubeflow.tokens) == {"Bearer a-secret"}
    (made,) = kubeflow.recurring
    assert made["experiment_id"] == kubeflow.experiments[0]["experiment_id"]
    assert kubeflow.experiments[0]["display_name"] == "mmr"
    assert made["trigger"]["cron_schedule"]["cron"] == "0 30 2 * * 0"
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == (1, True, "ENABLE")
    parameters = made["runtime_config"]["parameters"]
    assert set(parameters) == set(refresh.component_spec.inputs)
    assert parameters["source"] == "/mnt/mmr/feed"
    assert parameters["deploy"] == "no"
    assert json.loads(parameters["refresh_settings"])["max_removed_share"] == 0.3
    spec = made["pipeline_spec"]
    mounts = spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert all(mount["pvcMount"][0]["mountPath"] == "/mnt/mmr" for mount in mounts.values())
    tasks = spec["pipeline_spec"]["root"]["dag"]["tasks"]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks.values())


def test_retrain_recurs_with_the_parameters_of_the_retrain_pipeline(
    mmr: Run, kubeflow: FakeKubeflow
) -> None:
    status, _, err = mmr(
        "schedule",
        "retrain",
        "/mnt/mmr/feed",
        *CLUSTER,
        "--host",
        kubeflow.url,
        *("--preset", "quick", "--gpus", "1"),
    )

    assert status == 0, err
    (made,) = kubeflow.recurring
    assert set(made["runtime_config"]["parameters"]) == set(retrain.component_spec.inputs)
    assert "resourceCount" in json.dumps(made["pipeline_spec"])


def test_second_schedule_of_a_name_is_refused_and_replaced_on_demand_without_a_gap(
    mmr: Run, kubeflow: FakeKubeflow
) -> None:
    command = ("schedule", "refresh", "/mnt/mmr/feed", *CLUSTER, "--host", kubeflow.url)
    assert mmr(*command)[0] == 0
    first = kubeflow.recurring[0]["recurring_run_id"]

    status, _, err = mmr(*command)
    assert status == 1
    assert f"runs a schedule 'mmr-refresh-shop' already ({first})" in err
    assert len(kubeflow.recurring) == 1

    assert mmr(*command, "--replace")[0] == 0
    assert len(kubeflow.recurring) == 1
    assert kubeflow.recurring[0]["recurring_run_id"] != first
    changes = [method for method, *_ in kubeflow.requests if method in ("POST", "DELETE")]
    assert changes[-2:] == ["POST", "DELETE"]
    assert len(kubeflow.experiments) == 1


def test_dry_run_shows_what_would_be_submitted_and_asks_no_server(mmr: Run) -> None:
    status, out, _ = mmr("schedule", "refresh", "/mnt/mmr/feed", *CLUSTER, "--dry-run")

    shown = json.loads(out)
    assert status == 0
    assert shown["cron"] == "0 30 2 * * 0"
    assert shown["parameters"]["workspace"] == "/mnt/mmr/shop"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/home/me/feed", *CLUSTER), r"FEED is '/home/me/feed', but steps on the cluster"),
        (("/mnt/mmr/../etc", *CLUSTER), r"FEED is '/mnt/mmr/../etc'"),
        (("/mnt/mmr/f", *CLUSTER, "--workspace", "shop"), r"--workspace is 'shop'"),
        (("/mnt/mmr/f", *CLUSTER, "--tracking-uri", "sqlite:///x"), r"must be an MLflow server"),
        (("/mnt/mmr/f", *CLUSTER), r"--to kubeflow needs --host"),
        (("/mnt/mmr/f", *CLUSTER, "--cron", "0 25 * * *"), r"The hour '25'"),
        (("/mnt/mmr/f", *CLUSTER, "--name", "My Shop"), r"small letters"),
        (("/mnt/mmr/f", *CLUSTER, "--set", "max_lost=1"), r"max_lost"),
        (("/mnt/mmr/f", *CLUSTER, "--host", "kubeflow"), r"is no address of a Kubeflow server"),
    ],
)
def test_what_cannot_work_on_a_cluster_is_refused(
    mmr: Run, arguments: tuple[str, ...], message: str
) -> None:
    status, _, err = mmr("schedule", "refresh", *arguments)

    assert status == 1
    assert message in err


@pytest.mark.parametrize(
    ("path", "reason"), [("/healthz", "Forbidden"), ("/recurringruns", "no such user")]
)
def test_server_that_refuses_is_one_line_with_the_cure(
    mmr: Run, kubeflow: FakeKubeflow, path: str, reason: str
) -> None:
    kubeflow.refuse = path
    status, _, err = mmr("schedule", "refresh", "/mnt/mmr/feed", *CLUSTER, "--host", kubeflow.url)

    assert status == 1
    assert err.count("\n") == 1
    assert f"refused the submission with status 403: {reason}. Check the token" in err


def test_server_that_is_not_there_is_one_line_with_the_cure(mmr: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    status, _, err = mmr("schedule", "refresh", "/mnt/mmr/feed", *CLUSTER, "--host", url)

    assert status == 1
    assert err.count("\n") == 1
    assert f"{url} cannot be reached" in err


def test_token_is_not_part_of_what_is_shown_of_a_server() -> None:
    assert "hidden" not in repr(KubeflowServer("http://host", None, "hidden"))


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    folder = tmp_path / "shop 100%"
    folder.mkdir()
    (folder / "products.csv").write_text("product_id,title\n1,chair\n")
    return folder / "products.csv"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return Workspace.open(tmp_path / "my shop", create=True).path


@pytest.mark.parametrize("place", ["crontab", "systemd", "kubeflow"])
def test_address_of_mlflow_with_a_password_is_written_nowhere(
    place: str, mmr: Run, feed: Path, workspace: Path
) -> None:
    cluster = place == "kubeflow"
    status, out, err = mmr(
        *("schedule", "refresh", "/mnt/mmr/feed" if cluster else str(feed)),
        *(CLUSTER if cluster else ("--workspace", str(workspace), "--cron", "0 3 * * *")),
        *("--to", place, "--tracking-uri", "http://me:hush@mlflow:5000"),
        *(("--dry-run",) if cluster else ()),
    )

    assert status == 1
    assert "http://***@mlflow:5000 holds a password" in err
    assert "hush" not in out + err


def test_line_of_crontab_runs_the_refresh_wherever_cron_starts_it(
    mmr: Run, feed: Path, workspace: Path, tmp_path: Path
) -> None:
    status, out, err = mmr(
        "schedule",
        "refresh",
        str(feed),
        "--workspace",
        str(workspace),
        "--cron",
        "5 4 * * *",
        *("--set", "max_removed_share=0.2", "--no-deploy"),
    )
    assert status == 0, err
    assert "It would run next at " in err
    comment, line = out.splitlines()
    assert comment == "# mmr-refresh-my-shop"
    assert line.startswith("5 4 * * * ")

    command = line.removeprefix("5 4 * * * ").replace(r"\%", "%")  # as cron hands it to the shell
    assert "%" not in line.replace(r"\%", "")
    words = shlex.split(command)
    assert ["refresh", str(feed), "--set", "max_removed_share=0.2"] == words[6:10]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(["sh", "-c", command], env=environment, check=False, cwd="/")
    log = (tmp_path / "my shop-schedule.log").read_text()
    assert done.returncode == 1
    assert "so there is nothing to refresh" in log  # it ran, and this workspace has no champion


def test_systemd_units_name_the_same_command_and_are_whole(
    mmr: Run, feed: Path, workspace: Path, tmp_path: Path
) -> None:
    status, _, err = mmr(
        "schedule",
        "refresh",
        str(feed),
        "--workspace",
        str(workspace),
        "--cron",
        "5 4 1 * mon",
        *("--to", "systemd", "--out", str(tmp_path / "units"), "--name", "nightly"),
    )
    assert status == 0, err
    service = (tmp_path / "units" / "nightly.service").read_text()
    timer = (tmp_path / "units" / "nightly.timer").read_text()
    assert f'"-m" "mmr" "refresh" "{feed}"'.replace("%", "%%") in service
    assert "KillMode=process" in service
    assert timer.count("OnCalendar=") == 2
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / "units" / "nightly.timer")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "nightly" not in done.stderr, done.stderr


def test_retrain_for_this_machine_keeps_the_settings_file_by_its_whole_path(
    mmr: Run, feed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("seed: 3\n")
    status, out, err = mmr(
        "schedule", "retrain", str(feed), "--preset", "mine.yaml", "--cron", "0 1 * * 0"
    )

    assert status == 0, err
    assert f"--preset {tmp_path / 'mine.yaml'}" in out


def test_schedule_of_a_feed_or_workspace_that_is_not_there_is_refused(
    mmr: Run, feed: Path, tmp_path: Path
) -> None:
    nothing = str(tmp_path / "nothing")
    assert "does not exist" in mmr("schedule", "refresh", nothing, "--cron", "0 1 * * 0")[2]
    assert (
        "is not a workspace"
        in mmr("schedule", "refresh", str(feed), "--workspace", nothing, "--cron", "0 1 * * 0")[2]
    )
