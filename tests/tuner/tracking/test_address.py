"""Which addresses MLflow can be written to, and which may get the user's password."""

from pathlib import Path

import pytest

from tuner.space.sections import MlflowConfig
from tuner.tracking.address import address_fault, unconfirmed_fault, unused_note

SECRETS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*SECRETS, "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE", "UNSET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///~/mlflow.db", "sqlite:///{home}/mlflow.db"),
        ("sqlite:///$HOME/mlflow.db", "sqlite:///{home}/mlflow.db"),
        ("mysql://me:${DB_PASSWORD}@host/db", "mysql://me:p%40ss@host/db"),
        ("http://host/~me", "http://host/~me"),
    ],
)
def test_an_address_is_expanded(
    uri: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "p%40ss")
    config = MlflowConfig(tracking_uri=uri)
    assert config.address == expected.format(home=tmp_path)
    assert config.tracking_uri == uri
    assert address_fault(config) is None


def test_a_variable_that_is_not_set_is_a_fault() -> None:
    fault = address_fault(MlflowConfig(tracking_uri="sqlite:///$UNSET/mlflow.db"))
    assert fault is not None
    assert "got '$UNSET/mlflow.db': set UNSET" in fault


@pytest.mark.parametrize("uri", ["./mlruns", "mlruns/", "/data/ml runs", "file:///data/ml%20runs"])
def test_a_folder_is_refused_as_mlflow_would_later(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = address_fault(MlflowConfig(tracking_uri=uri))
    assert fault is not None
    folder = "/data/ml runs" if "data" in uri else uri
    assert f"write sqlite:///{folder.rstrip('/')}/mlflow.db, or leave it out" in fault
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert address_fault(MlflowConfig(tracking_uri=uri)) is None


@pytest.mark.parametrize("name", [*SECRETS, "file"])
def test_an_address_of_another_persons_gets_no_credentials(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "https://evil.example"
    assert unconfirmed_fault(evil, "confirm it") is None  # nothing secret would be sent
    if name == "file":
        (tmp_path / ".mlflow").mkdir()
        (tmp_path / ".mlflow" / "credentials").touch()
    else:
        monkeypatch.setenv(name, "hunter22")
    fault = unconfirmed_fault(evil, "confirm it")
    assert fault is not None
    assert "would be sent to https://evil.example: if it is yours, confirm it" in fault
    assert "hunter22" not in fault
    assert unconfirmed_fault("sqlite:////tmp/mlflow.db", "confirm it") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", evil)
    assert unconfirmed_fault(evil, "confirm it") is None


def test_an_address_of_another_persons_gets_no_variable() -> None:
    fault = unconfirmed_fault("https://evil.example/$AWS_SECRET_ACCESS_KEY", "confirm it")
    assert fault is not None
    assert "$AWS_SECRET_ACCESS_KEY would be sent to" in fault


def test_an_address_in_the_environment_that_is_not_used_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert unused_note(MlflowConfig()) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    note = unused_note(MlflowConfig())
    assert note is not None
    assert "the search is written to RUNS_DIR/mlflow.db" in note
    assert note.endswith("write mlflow: {tracking_uri: $MLFLOW_TRACKING_URI}")
    assert unused_note(MlflowConfig(tracking_uri="$MLFLOW_TRACKING_URI")) is None
