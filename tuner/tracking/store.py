"""MLflow's own store: its client, its database, the place of its files."""

import contextlib
import logging
import os
import re
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from tuner.process import silence

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # its retries would create a run twice; ours look first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else a line at every trial's end
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


#: The folder of MLflow's files, next to its database.
_ARTIFACTS = "mlflow-artifacts"
#: Where MLflow keeps the URIs of files, as tables and columns.
_FILE_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)


def open_client(tracking_uri: str) -> Any:
    """Return MLflow's own client, which depends on no global state."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def prepare_store() -> None:
    """Import MLflow (seconds, the first time) without its telemetry, retries and chatter."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow.entities
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  # else loaded at first use

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic", "sqlalchemy"):
            silence(name, logging.CRITICAL)  # it logs tracebacks as errors


def schema_lock(database: Path | None) -> contextlib.AbstractContextManager[object]:
    """Return a lock: two processes that make the tables of one SQLite file at once both fail."""
    if database is None:
        return contextlib.nullcontext()
    # It makes the folder, too.
    return FileLock(database.with_name(f"{database.name}.lock"), fallback_to_soft=False)


def create_database(uri: str, database: Path) -> None:
    """Make MLflow's tables in a scratch file, which becomes the database once they are all there.

    MLflow makes them one by one: of a process killed in between it could never use the rest.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    scratch = database.with_name(f".{database.name}.new")
    for left in (scratch, scratch.with_name(f"{scratch.name}-journal")):  # by one that was killed
        left.unlink(missing_ok=True)
    # The artifacts' root is of MLflow's experiment 0 alone, which no search writes to.
    root = (database.parent / _ARTIFACTS).as_uri()
    store = SqlAlchemyStore(uri.replace(str(database), str(scratch), 1), root)
    store.engine.dispose()
    scratch.replace(database)


def relocate_files(database: Path) -> None:
    """Let a database that was moved or copied find its files where they are now.

    MLflow records absolute URIs: a copy would write into the folder of the original. The database
    of a search remembers its first place as the root of MLflow's experiment 0. Files that were
    left there stay there.
    """
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        query = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
        try:
            (root,) = connection.execute(query).fetchone() or ("",)
        except sqlite3.Error:  # of no MLflow that we know: MLflow itself says what is wrong
            return
        old, is_ours, _ = str(root).rpartition(f"/{_ARTIFACTS}/")
        new = database.parent.as_uri()
        if not is_ours or old == new:
            return
        left_behind = Path(unquote(urlsplit(old).path), _ARTIFACTS).is_dir()
        if left_behind and not (database.parent / _ARTIFACTS).is_dir():
            return
        places = {"old": f"{old}/{_ARTIFACTS}", "new": f"{new}/{_ARTIFACTS}"}
        for table, column in _FILE_COLUMNS:
            connection.execute(
                f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1)"
                f" WHERE substr({column} || '/', 1, length(:old) + 1) = :old || '/'",
                places,
            )


def absolute_uri(tracking_uri: str) -> tuple[str, Path | None]:
    """Return the URI with an absolute path, and that path where it is an SQLite file."""
    parts = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^?]+)(\?.*)?", tracking_uri)
    if parts is None or parts[2] == ":memory:":
        return tracking_uri, None
    database = Path(parts[2]).absolute()
    return f"{parts[1]}:///{database}{parts[3] or ''}", database


def artifact_uri(location: str | None, database: Path | None) -> str | None:
    """Return the place of a new experiment's files; ``None`` leaves it to the server."""
    if location is None:  # MLflow's own default depends on the working directory
        return database and (database.parent / _ARTIFACTS).as_uri()
    return location if re.match(r"[\w+.-]+:", location) else Path(location).absolute().as_uri()
