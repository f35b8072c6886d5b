"""The variables that Ray reads when it is imported or started."""

import os

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
