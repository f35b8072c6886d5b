"""Where MLflow is: whether it can be written to, and whether it may get the user's password."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from trainables.config import variables
from tuner.space import MlflowConfig
from tuner.tracking.text import address

#: The variable by which MLflow itself is given an address.
OWN_ADDRESS = "MLFLOW_TRACKING_URI"
#: What MLflow sends with each request to a server, whichever it is.
_CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
)
_CREDENTIALS_FILE = Path(".mlflow", "credentials")


def own_address() -> str | None:
    """Return the address that the user gives MLflow itself, in the environment."""
    return os.environ.get(OWN_ADDRESS) or None


def address_fault(config: MlflowConfig) -> str | None:
    """Describe why MLflow cannot be written to at an address; ``None`` if its text shows no reason.

    Args:
        config: The section ``mlflow``.
    """
    try:
        uri = config.address
    except ValueError as error:
        return str(error)
    is_folder = uri is not None and (
        uri.startswith("file:") or (":" not in uri and uri not in ("databricks", "uc"))
    )
    if uri is None or not is_folder or os.environ.get("MLFLOW_ALLOW_FILE_STORE") == "true":
        return None
    path = unquote(urlsplit(uri).path) if uri.startswith("file:") else uri
    return (
        f"must be a database or a server, got the folder {path}, which MLflow no longer writes to: "
        f"write sqlite:///{path.rstrip('/')}/mlflow.db, or leave it out"
    )


def unconfirmed_fault(uri: str | None, way_out: str) -> str | None:
    """Describe why an address from another person's file needs to be confirmed by the user.

    MLflow's client sends the credentials of the environment to any server that it is given.

    Args:
        uri: The address, as the file has it.
        way_out: How the user confirms it.

    Returns:
        ``None`` if nothing secret would be sent, or the address is the user's own.
    """
    if uri is None or not (secrets := _sent_to(uri)) or uri == own_address():
        return None
    return (
        f"stands in a search's folder, which another person may have written, and {secrets} would "
        f"be sent to {address(uri) or uri}: if it is yours, {way_out}"
    )


def unused_note(config: MlflowConfig) -> str | None:
    """Say that the address in the environment is not used, if it is another one."""
    own = own_address()
    if own is None or config.address == own:
        return None
    used = "mlflow.tracking_uri" if config.tracking_uri else "RUNS_DIR/mlflow.db"
    return (
        f"{OWN_ADDRESS} is set, and not used: the search is written to {used}; to use it, write "
        f"mlflow: {{tracking_uri: ${OWN_ADDRESS}}}"
    )


def _sent_to(uri: str) -> str:
    """Name the secrets of this machine that a client of an address sends to it."""
    named = [f"${name}" for name in variables(uri)]
    if uri.startswith(("http:", "https:")) or named:
        named += [name for name in _CREDENTIALS if os.environ.get(name)]
        named += ["~/.mlflow/credentials"] if _has_credentials_file(os.environ) else []
    return ", ".join(named)


def _has_credentials_file(environment: Mapping[str, str]) -> bool:
    home = environment.get("HOME")
    return home is not None and Path(home, _CREDENTIALS_FILE).is_file()
