"""Paths with ``~`` and variables."""

import pytest

from trainables.config.paths import expand, variables


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SCRATCH", "/scratch/$x~")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("UNSET", raising=False)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~", "/home/me"),
        ("~/runs", "/home/me/runs"),
        ("runs~/a", "runs~/a"),
        ("$SCRATCH/runs", "/scratch/$x~/runs"),
        ("${SCRATCH}runs", "/scratch/$x~runs"),
        ("~/$SCRATCH", "/home/me//scratch/$x~"),
        ("cost$", "cost$"),
        ("a$$b/$5", "a$b/$5"),
        ("$$SCRATCH", "$SCRATCH"),
    ],
)
def test_a_home_and_variables_are_replaced_once(path: str, expected: str) -> None:
    assert expand(path) == expected


@pytest.mark.parametrize("name", ["UNSET", "EMPTY"])
def test_a_variable_without_a_value_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"got '\${name}/runs': set {name}, or write \$\$ for a"):
        expand(f"${name}/runs")


def test_a_user_that_the_machine_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got '~no-such-user/x': write \./~no-such-user/x"):
        expand("~no-such-user/x")


def test_the_variables_of_a_text_are_listed() -> None:
    assert variables("mysql://me:$A@${B}/$$C") == ["A", "B"]
