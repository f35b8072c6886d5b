"""MLflow's errors and addresses as text for a person, without any password."""

import os
import re

from trainables.config import SECRET_NAME

SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def address(uri: str) -> str | None:
    """Give the address of a server, without credentials; ``None`` for a database."""
    parts = re.match(r"(https?://)(?:[^/\s]*@)?([^?#]*)", uri)
    return parts and (parts[1] + parts[2]).rstrip("/")


def reason(error: Exception) -> str:
    """Give one short line on an error; MLflow nests four messages for a refused connection."""
    text = " ".join(str(error).split()).split(". To increase the timeout")[0].split(" [SQL")[0]
    if "Caused by" in text:
        text = re.split(r": |, '", text.split("Caused by")[1])[-1].split(" (")[0].strip('.()"')
    text = re.sub(r"\[Errno -?\d+\] ", "", text)
    return masked(text)[:200] or type(error).__name__


def masked(text: str) -> str:
    """Hide the credentials of every address in a text, and those that MLflow was given apart."""
    for secret in filter(None, map(os.environ.get, SECRETS)):
        text = text.replace(secret, "***")
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    option = rf"(?i)(?<=[?&])([\w.-]*(?:{SECRET_NAME.pattern})[\w.-]*)=[^&#\s'\"]+"
    return re.sub(option, r"\1=***", text)
