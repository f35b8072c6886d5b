"""Run the user's own command at the end of a search: ``results.on_end``."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Seconds after which the command is ended: a search must not hang at its end.
_TIMEOUT_S = 60.0


def run_on_end(command: Sequence[str], run_dir: Path, state: str, text: str) -> str | None:
    """Run a command without a shell, with a text on its standard input.

    Args:
        command: The program and its arguments, in which ``{run_dir}`` and ``{state}`` are replaced.
        run_dir: The search's folder.
        state: ``finished`` or ``stopped``.
        text: The input.

    Returns:
        Why it failed, ``None`` if it did not.
    """
    values = {"{run_dir}": str(run_dir), "{state}": state}
    arguments = [_replaced(argument, values) for argument in command]
    try:
        done = subprocess.run(
            arguments,
            input=text.encode(errors="backslashreplace"),
            capture_output=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"results.on_end did not end within {_TIMEOUT_S:g} s, and was killed"
    except OSError as error:
        return f"results.on_end could not be run: {error.strerror}: {command[0]}"
    if done.returncode == 0:
        return None
    printed = (done.stderr or done.stdout).decode(errors="backslashreplace")
    lines = [line.strip() for line in printed.split("\n") if line.strip()]
    reason = f": {lines[-1][:200]}" if lines else ""
    return f"results.on_end failed with status {done.returncode}{reason}"


def _replaced(argument: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        argument = argument.replace(name, value)
    return argument
