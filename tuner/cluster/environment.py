"""The variables that Ray reads when it is imported or started."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

#: Sockets have a path of at most 107 bytes, of which Ray adds some 60 to its folder.
_LONGEST_FOLDER = 40
_NEW_PRIVATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL

VARIABLES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the display is ours
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry from what we start
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that asks for no GPU sees none
    # Ray's own killing of workers at 95% of memory may hit a machine that others fill. The
    # kernel's, which takes workers first, is a crash that trials recover from as well.
    "RAY_memory_monitor_refresh_ms": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record keeps the reports
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours too: Ray's loses reports in flight
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # they are in trials.csv, and whole in the trial's folder
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # nor those of tasks whose result is no longer needed
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # w1 comes at rungs only
    # Ray gives a stopped trial 2 s to leave before it fails the next one on the same worker.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_ONLY_STORE_CHECKPOINT_SCORE_ATTRIBUTE": "1",  # no report kept with each checkpoint
    # Ray's own snapshot of the experiment is never read: a resume starts from the study.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}


def set_defaults() -> None:
    """Set each variable that the user has not set; call this before Ray is imported."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    # Without it, Ray takes the parent of a process for its raylet. A search whose parent is init,
    # as under systemd or after nohup, Ray would end without a word once it lost its raylet.
    os.environ.setdefault("RAY_RAYLET_PID", str(os.getpid()))


def short_temporary_folder() -> dict[str, str]:
    """Return the variable that gives Ray's sockets a short path, where ``TMPDIR`` is too long."""
    is_short = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER
    return {} if is_short or not os.access("/tmp", os.W_OK) else {"RAY_TMPDIR": "/tmp"}


def private_token() -> dict[str, str]:
    """See that no other user of this machine can read the token that Ray's servers require.

    Ray makes ``~/.ray/auth_token`` readable by all: whoever has it may run code as this user.

    Returns:
        The variable with a token for this session, where there is no home to keep one in.
    """
    if any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return {}
    try:
        path = Path.home() / ".ray" / "auth_token"
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), open(os.open(path, _NEW_PRIVATE, 0o600), "w") as file:  # noqa: PTH123
            file.write(secrets.token_hex(32))
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except (OSError, RuntimeError):  # no home, or none that can be written to
        return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {}
