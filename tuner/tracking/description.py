"""Description of a search in Markdown, for its run in MLflow: the best trial, what to do next."""

import html
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from tuner.results import hyperparameters, score_and_step_text, ties_text
from tuner.space import Choice, Range, SearchSpec, flat
from tuner.study import Trial


@final
@dataclass(frozen=True)
class ParentRun:
    """The run of a search in MLflow, which its description refers to."""

    tracking_uri: str  # without credentials
    experiment_id: str
    run_id: str
    files: frozenset[str]  # names of its artifacts
    model_id: str | None  # the best generator's


def search_note(
    spec: SearchSpec, run_dir: Path, best: Trial, trials: Sequence[Trial], run: ParentRun
) -> str:
    """Describe a search by its best trial.

    Args:
        spec: The search.
        run_dir: Its folder.
        best: The best trial.
        trials: All of them.
        run: Its run in MLflow, with the files that can be linked to or shown.
    """
    ties = ties_text(best, trials)
    parts = [
        f"**Best: trial {best.trial_id}**, {score_and_step_text(best)}; {len(trials)} trials.",
        f"It is {ties}." if ties else "",
        _compared(spec),
        _samples(run),
        _report(run),
        "### Its configuration",
        _table(hyperparameters(best), _searched(spec)),
        "### How to use it",
        _commands(run_dir, best, run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _compared(spec: SearchSpec) -> str:
    """Say with which searches the scores compare: MLflow puts any runs into one table."""
    return (
        "Compare its `w1` only with searches of equal tags `data` and `ground`: "
        f"`{spec.data.dataset}` and `{spec.objective.compared}`."
    )


def _samples(run: ParentRun) -> str:
    # Relative: the page may be served from any address, and below any path.
    if "samples.png" not in run.files:
        return ""
    source = f"get-artifact?path=samples.png&run_uuid={run.run_id}"
    return f"Real data on the left, its samples on the right:\n\n![samples]({source})"


def _report(run: ParentRun) -> str:
    if "report.html" not in run.files:
        return ""
    page = f"#/experiments/{run.experiment_id}/runs/{run.run_id}/artifacts/report.html"
    return f"[The whole search as a report]({page})"


def _table(values: Mapping[str, object], searched: Iterable[str]) -> str:
    """Show the values, the searched ones first and in bold; as HTML: a name may hold anything."""
    known = set(searched)
    ordered = sorted(values, key=lambda name: name not in known)
    rows = [
        f"<tr><td>{_bold(html.escape(name), name in known)}</td>"
        f"<td>{_bold(html.escape(_shown(values[name])), name in known)}</td></tr>"
        for name in ordered
    ]
    return "<table><tbody>" + "".join(rows) + "</tbody></table>"


def _bold(text: str, is_bold: bool) -> str:
    return f"<b>{text}</b>" if is_bold else text


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _searched(spec: SearchSpec) -> set[str]:
    values = (*flat(spec.training), *flat(spec.networks))
    return {key for key, value in values if isinstance(value, Choice | Range)}


def _commands(run_dir: Path, best: Trial, run: ParentRun) -> str:
    python, folder = shlex.quote(sys.executable), shlex.quote(str(run_dir))
    lines = [
        f"{python} -m tuner.sample {folder} --out samples.png",
        f"{python} -m tuner.train {folder}",
    ]
    blocks = [_code(lines)]
    if run.model_id is not None:
        uri = f"models:/{run.model_id}"
        serve = f"{python} -m mlflow models serve --model-uri {uri} --env-manager local --port 5001"
        tracking = shlex.quote(run.tracking_uri)
        blocks += [
            "Its generator as an MLflow model, from Python and as a server:",
            _code(
                [
                    "import mlflow, numpy",
                    f"mlflow.set_tracking_uri({run.tracking_uri!r})",
                    f"model = mlflow.pyfunc.load_model({uri!r})",
                    "latents = numpy.random.standard_normal("
                    f"(64, {best.config.networks.latent_dim})).astype('float32')",
                    "images = model.predict(latents)",
                ]
            ),
            _code([f"MLFLOW_TRACKING_URI={tracking} {serve}"]),
        ]
    return "\n\n".join(blocks)


def _code(lines: Sequence[str]) -> str:
    return "\n".join(["```", *lines, "```"])
