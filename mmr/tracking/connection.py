"""The door to an MLflow store: opened quickly, quiet, and failing with a cure."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmr.errors import ConfigError, TrackingError

LOCK_TIMEOUT_S = 15
_SQLITE = "sqlite:///"
_CONNECT_TIMEOUT_S = 10
# A dead server would otherwise cost four minutes of retries in every call. Two attempts of 8 s
# stay under 20 s; a value that the user has set stays.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# A password may hold /, : and @ too. A port is none.
_PASSWORD = re.compile(r"://[^/\s:@]*:(?!\d{1,5}/)\S*@")
_PASSWORD_PARAMETER = re.compile(r"\b(password|passwd|pwd)=[^&\s]+", re.IGNORECASE)
_CHATTY = ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store")


def import_mlflow() -> None:
    """Imports MLflow as a quiet guest: without its telemetry, long retries and import warnings.

    Raises:
        TrackingError: It is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for logger in _CHATTY:
        logging.getLogger(logger).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("mlflow.pyfunc")
    except ModuleNotFoundError as error:
        raise TrackingError(
            f"MLflow is not installed ({error}). Install it with `pip install mmr[tracking]`."
        ) from error


def database_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def without_password(uri: str) -> str:
    """The address, or a message that quotes it, as it may be shown and logged."""
    hidden = re.sub(r"://[^/\s]+@", "://***@", _PASSWORD.sub("://***@", uri))
    return _PASSWORD_PARAMETER.sub(r"\1=***", hidden)


def check_recordable(uri: str) -> None:
    """Refuses an address with a password where it would be written down.

    Raises:
        ConfigError: It holds one.
    """
    if _PASSWORD.search(uri) or _PASSWORD_PARAMETER.search(uri):
        raise ConfigError(
            f"{without_password(uri)} holds a password, and a pipeline's parameters are kept on "
            "disk. Leave it out of the address: MLflow reads MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, PostgreSQL reads PGUSER and PGPASSWORD or ~/.pgpass."
        )


def check_reachable(uri: str) -> None:
    """Finds at once what MLflow would find after minutes of retries, for stores it opens itself.

    Raises:
        TrackingError: The kind of store is not supported, or it cannot be opened.
    """
    shown = without_password(uri)
    if (database := database_path(uri)) is not None:
        _check_sqlite(database)
    elif uri.startswith(("http://", "https://")):
        pass  # the first request tells
    elif uri.startswith(("postgresql", "mysql", "mssql")):
        _check_database(uri)
    else:
        raise TrackingError(
            f"{shown} is not a tracking store that mmr can use. Give sqlite:///FILE, http(s)://HOST"
            " of an MLflow server, or postgresql+psycopg2://…; MLflow retired plain directories."
        )


def lock_path(uri: str) -> Path:
    """The file whose lock keeps the mmr processes of this machine from changing a store at once."""
    database = database_path(uri)
    if database is not None:
        return database.with_name(f"{database.name}.lock")
    name = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"mmr-{os.getuid()}-{name}.lock"


@contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """Keeps other mmr processes on this machine from changing the same store meanwhile.

    Raises:
        TrackingError: Another process holds the lock for too long.
    """
    path = lock_path(uri)
    try:
        with FileLock(path, timeout=LOCK_TIMEOUT_S):
            yield
    except Timeout as error:
        raise TrackingError(
            f"Another mmr process has held {path} for {LOCK_TIMEOUT_S} s: a registration or "
            "promotion is going on. Wait for it, then run again."
        ) from error


@contextmanager
def translated(uri: str, doing: str) -> Iterator[None]:
    """Turns MLflow's, the database's and the network's exceptions into `TrackingError`."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, requests.RequestException, OSError) as error:
        reason = " ".join(str(error).split())[:500]
        raise TrackingError(
            f"MLflow at {without_password(uri)} failed while {doing}: {without_password(reason)}. "
            "Check that the store is up and reachable (for a server: open its address in a "
            "browser), or choose another with MLFLOW_TRACKING_URI or --tracking-uri; then run the "
            "same command again."
        ) from error


def _check_sqlite(database: Path) -> None:
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(database, timeout=_CONNECT_TIMEOUT_S)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"The MLflow store {database} cannot be opened: {error}. Check its permissions and "
            "the free space; a damaged file must be restored from a copy or moved away."
        ) from error


def _check_database(uri: str) -> None:
    if uri.startswith("postgresql://") and importlib.util.find_spec("psycopg") is None:
        raise TrackingError(
            "SQLAlchemy reads postgresql:// as psycopg 3, which is not installed. Write "
            "postgresql+psycopg2://… (with psycopg2-binary), or install psycopg."
        )
    import sqlalchemy

    with translated(uri, "connecting"):
        try:
            engine = sqlalchemy.create_engine(uri)
        except ModuleNotFoundError as error:
            raise TrackingError(
                f"The driver of {without_password(uri)} is not installed: {error}."
            ) from error
        timeout = {"connect_timeout": _CONNECT_TIMEOUT_S}
        engine = sqlalchemy.create_engine(
            uri, connect_args=timeout if not uri.startswith("mssql") else {}
        )
        try:
            engine.connect().close()
        finally:
            engine.dispose()
