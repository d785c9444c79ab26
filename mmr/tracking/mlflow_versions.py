"""The versions of the one registered model: one per release, found by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mmr.tracking.champion import not_registered

REGISTERED_MODEL = "mmr-retriever"
_PAGE = 500
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class ModelVersions:
    """Reads versions and aliases, and moves aliases without asking what they were.

    Args:
        client: Of the store.
    """

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def all(self, condition: str = "") -> Iterator[Any]:
        """Every version that meets a condition of MLflow's search language."""
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name='{REGISTERED_MODEL}'{condition}", max_results=_PAGE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def of(self, release_id: str) -> Any:
        """The version of a release, or None."""
        quoted = release_id.replace("'", "")
        return next(self.all(f" and tags.release_id='{quoted}'"), None)

    def known(self, release_id: str) -> Any:
        """The version of a release.

        Raises:
            TrackingError: It is not registered.
        """
        version = self.of(release_id)
        if version is None:
            raise not_registered(release_id)
        return version

    def aliases(self) -> dict[str, list[str]]:
        """Version number to its aliases."""
        model = or_none(lambda: self._client.get_registered_model(REGISTERED_MODEL))
        by_version: dict[str, list[str]] = {}
        for alias, version in (model.aliases if model else {}).items():
            by_version.setdefault(str(version), []).append(alias)
        return by_version

    def point(self, alias: str, release_id: str) -> None:
        """Makes an alias name a release.

        Raises:
            TrackingError: The release is not registered.
        """
        version = self.known(release_id).version
        self._client.set_registered_model_alias(REGISTERED_MODEL, alias, version)


def or_none(call: Callable[[], Any]) -> Any:
    """The answer, or None where MLflow says that there is no such thing."""
    try:
        return call()
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise
