"""The door to a Kubeflow Pipelines server: starts a pipeline there, or makes it recur."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmr.errors import MmrError

if TYPE_CHECKING:
    import kfp

_CONNECT_TIMEOUT_S = 10
_HEALTH = "/apis/v2beta1/healthz"
_EQUALS = 1  # of the API's filters


class KubeflowError(MmrError):
    """The Kubeflow server refused, or is not reachable."""


@dataclass(frozen=True)
class SingleRun:
    """A pipeline with all that it needs to run once.

    Attributes:
        name: Of the run, or of the schedule; one schedule of a name exists in an experiment.
        experiment: The runs are listed there.
        ir_yaml: The compiled pipeline, its Kubernetes document included.
        parameters: Of the pipeline.
    """

    name: str
    experiment: str
    ir_yaml: str
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class RecurringRun(SingleRun):
    """The same, to recur.

    Attributes:
        cron: Six fields, seconds first.
    """

    cron: str


@dataclass(frozen=True)
class KubeflowServer:
    """Where a Kubeflow Pipelines server is, and how to get in.

    Attributes:
        host: Its address, such as `https://kubeflow.example.com/pipeline`.
        namespace: Of the user, on a server with several; None on others.
        token: Sent as bearer token; None sends none. It is never shown.
    """

    host: str
    namespace: str | None
    token: str | None

    def __repr__(self) -> str:
        """Without the token."""
        return f"KubeflowServer({self.host!r}, namespace={self.namespace!r})"

    def submit(self, run: RecurringRun, *, replace: bool) -> str:
        """Makes a pipeline recur, one run at a time, missed ones not made up, no step cached.

        Args:
            run: What to submit.
            replace: Whether a schedule of the same name is replaced; it is removed when the new one
                stands, so there is never none.

        Returns:
            The id of the recurring run.

        Raises:
            KubeflowError: The server is not reachable, refused, or has such a schedule already.
        """
        self._check_reachable()
        with self._translated(), _package(run) as package:
            client = self._client()
            experiment = client.create_experiment(run.experiment, namespace=self.namespace)
            before = self._named(client, run.name, experiment.experiment_id)
            if before and not replace:
                raise KubeflowError(
                    f"{self.host} runs a schedule {run.name!r} already ({', '.join(before)}). "
                    "Give --replace, or another --name."
                )
            made = client.create_recurring_run(
                experiment_id=experiment.experiment_id,
                job_name=run.name,
                cron_expression=run.cron,
                max_concurrency=1,
                no_catchup=True,
                params=dict(run.parameters),
                pipeline_package_path=str(package),
                enable_caching=False,  # parameters stay the same while feed and champion change
            )
            for recurring_run_id in before:
                client.delete_recurring_run(recurring_run_id)
        return str(made.recurring_run_id)

    def start(self, run: SingleRun) -> str:
        """Runs a pipeline once, no step cached.

        Returns:
            The id of the run.

        Raises:
            KubeflowError: The server is not reachable, or refused.
        """
        self._check_reachable()
        with self._translated(), _package(run) as package:
            client = self._client()
            experiment = client.create_experiment(run.experiment, namespace=self.namespace)
            made = client.run_pipeline(
                experiment_id=experiment.experiment_id,
                job_name=run.name,
                params=dict(run.parameters),
                pipeline_package_path=str(package),
                enable_caching=False,  # its key would not see that the feed has changed
            )
        return str(made.run_id)

    def _client(self) -> kfp.Client:
        import kfp

        # Its own default for a server without namespaces is the name `kubeflow`.
        named = {} if self.namespace is None else {"namespace": self.namespace}
        return kfp.Client(host=self.host, existing_token=self.token, **named)

    def _named(self, client: kfp.Client, name: str, experiment_id: str) -> list[str]:
        wanted = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
        found = client.list_recurring_runs(
            experiment_id=experiment_id,
            page_size=100,
            filter=json.dumps({"predicates": [wanted]}),
        )
        return [str(run.recurring_run_id) for run in found.recurring_runs or []]

    def _check_reachable(self) -> None:
        """Finds in seconds what the client would find after minutes of retries."""
        if not self.host.startswith(("http://", "https://")):
            raise KubeflowError(
                f"{self.host!r} is no address of a Kubeflow server. Write it as "
                "https://HOST/pipeline."
            )
        request = Request(f"{self.host.rstrip('/')}{_HEALTH}")
        if self.token:
            request.add_header("authorization", f"Bearer {self.token}")
        try:
            with urlopen(request, timeout=_CONNECT_TIMEOUT_S):
                pass
        except HTTPError as error:
            raise self._refused(error.code, error.reason) from error
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        import urllib3
        from kfp_server_api import ApiException

        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the client announces its links and its version
                yield
        except ApiException as error:
            raise self._refused(error.status, _reason(error)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from error

    def _refused(self, status: int | None, reason: str) -> KubeflowError:
        return KubeflowError(
            f"{self.host} refused the submission with status {status}: {reason}. Check the token "
            "(KFP_TOKEN), the namespace, and that the address is that of Kubeflow Pipelines 2."
        )

    def _unreachable(self, error: Exception) -> KubeflowError:
        return KubeflowError(
            f"{self.host} cannot be reached ({' '.join(str(error).split())[:200]}). Check the "
            "address; from outside the cluster forward a port first: `kubectl port-forward -n "
            "kubeflow svc/ml-pipeline-ui 8080:80`."
        )


@contextlib.contextmanager
def _package(run: SingleRun) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "pipeline.yaml"
        package.write_text(run.ir_yaml, encoding="utf-8")
        yield package


def _reason(error: Any) -> str:
    try:
        answer = json.loads(error.body or "{}")
        reason = answer.get("message") or answer.get("error") or error.reason
    except (ValueError, AttributeError):
        reason = error.reason
    return " ".join(str(reason).split())[:300]
