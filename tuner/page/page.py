"""Write the report of a search, running or ended, as one HTML page.

The page is a single file that needs no network: it embeds plotly's code and all pictures. Its
content security policy forbids the browser to load anything.
"""

import base64
import gzip
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tuner import results
from tuner.page import answer as report_answer
from tuner.page import figures, spaces, timeline, training
from tuner.page import text as report_text
from tuner.page.baseline import baselines
from tuner.page.comparison import comparison
from tuner.page.facts import Facts
from tuner.page.hints import hints
from tuner.page.pictures import gallery, samples
from tuner.page.style import short
from tuner.page.table import table
from tuner.retrain import read_retrained
from tuner.storage import write_atomically
from tuner.study import EVALUATORS, MIN_TRIALS, Importance, Point, find_importances
from tuner.tracking import read_run_links

#: The seconds that all 95% intervals of the importances together may take.
_LIMIT_S = 12.0
_TEMPLATES = Path(__file__).with_name("template")
#: In this order: each uses the ones before it.
_SCRIPTS = ("expression.js", "selection.js", "report.js", "table.js", "gallery.js")
#: Importances by evaluator and by ``repr`` of the trials' points.
ImportanceCache = dict[tuple[str, str], list[Importance]]


def write_report(
    run_dir: Path,
    out: Path | None = None,
    *,
    is_over: bool = False,
    limit_s: float = _LIMIT_S,
    cache: ImportanceCache | None = None,
) -> Path:
    """Write the report of the current state of a search.

    Args:
        run_dir: The search's folder.
        out: The file to write, by default ``RUN/report.html``.
        is_over: Whether the search has ended although its folder is still locked, as it is when
            the driver calls this.
        limit_s: The seconds that the 95% intervals of the importances may take.
        cache: A cache of importances, shared between reports; new ones are added.

    Returns:
        The file.

    Raises:
        BadInput: if the folder holds no search.
        OSError: if the file cannot be written.
    """
    search = results.read_snapshot(run_dir.resolve())
    if is_over:
        search = replace(search, is_running=False)
    path = out or run_dir / "report.html"
    write_atomically(path, page(Facts(search), limit_s, cache))
    return path


def page(
    facts: Facts,
    limit_s: float = _LIMIT_S,
    cache: ImportanceCache | None = None,
    version: str | None = None,
) -> str:
    """Render the report as HTML.

    The other arguments are those of :func:`write_report`.

    Args:
        facts: Of the search.
        version: The name of this page, for one that a server offers: it reloads itself when the
            server has another. ``None`` for a file, which loads nothing.
    """
    run_dir = facts.search.run_dir
    drawn, rankings, space_values = _space(facts, limit_s, {} if cache is None else cache)
    drawn |= _trials(facts)
    seeds, defaults, links = read_retrained(run_dir), baselines(facts), read_run_links(run_dir)
    best = facts.search.best
    of_best = [
        s for s in seeds if best is not None and s.trial_id == best.trial_id and len(s.w1) > 1
    ]
    if best is not None and of_best:
        # Scores at a rung of the search come last, since the last entry is the one displayed.
        of_best.sort(key=lambda s: s.generator_steps in facts.curves.get(best.number, {}))
        search_w1 = facts.curves.get(best.number, {}).get(of_best[-1].generator_steps)
        drawn["fig-seeds"] = figures.seeds(of_best[-1].w1, search_w1, best.trial_id)
    compared, comparison_values = comparison(facts)
    drawn |= compared
    plots = {id_: plot for id_, plot in drawn.items() if plot is not None}
    nonce = secrets.token_urlsafe(16)
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return env.get_template("report.html.j2").render(
        nonce=nonce,
        version=version,
        css=_template("report.css"),
        scripts=[_template(name) for name in [*_SCRIPTS, *["live.js"] * (version is not None)]],
        plotly=_packed(get_plotlyjs()),
        figures=_packed(_as_json(plots)),
        heights={id_: int(plot.layout.height) for id_, plot in plots.items()},
        training_series=training.series_names(plots.get("fig-training")),
        hints=hints(facts, rankings, defaults, seeds),
        provenance=results.provenance_text(results.read_sessions(run_dir)),
        foot=f"Written {time.strftime('%Y-%m-%d %H:%M:%S')} from {run_dir}.",
        **report_answer.answer(facts, defaults, of_best),
        **report_text.trials(facts),
        **samples(facts),
        **gallery(facts),
        **comparison_values,
        **space_values,
        **table(facts, links, _by_importance(rankings, [*facts.search.spec.domains])),
    )


def _template(name: str) -> Markup:
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _packed(text: str) -> Markup:
    """Compress a text for the page, to a third or less, as letters that need no escape."""
    return Markup(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


def _as_json(plots: dict[str, go.Figure]) -> str:
    """Return the figures by id as JSON."""
    texts = {id_: plotly.io.to_json(plot, engine="json") for id_, plot in plots.items()}
    documents = {id_: json.loads(str(text)) for id_, text in texts.items()}
    return json.dumps(documents, separators=(",", ":"), allow_nan=False)


def _trials(facts: Facts) -> dict[str, go.Figure | None]:
    drawn = {
        "fig-steps": figures.curves(facts, "generator_steps"),
        "fig-seconds": figures.curves(facts, "training_seconds"),
        "fig-ladder": figures.rung_ladder(facts),
        "fig-best-trials": timeline.best_so_far(facts, "trials"),
        "fig-best-time": timeline.best_so_far(facts, "time"),
        "fig-training": training.training_curves(facts),
        "fig-timeline": timeline.timeline(facts),
    }
    for index, steps in enumerate(report_text.critic_rungs(facts)):
        drawn[f"fig-critic-{index}"] = figures.own_critic(facts, steps)
    for index, key in enumerate(report_text.method_keys(facts)):
        for scope in ("all", "completed"):
            drawn[f"fig-method-{index}-{scope}"] = figures.by_method(facts, key, scope)
    return drawn


def _points(facts: Facts, steps: int, numbers: Sequence[int]) -> list[Point]:
    w1 = facts.w1_at(steps)
    return [Point(facts.search.trials[n].params, w1[n]) for n in numbers if n in w1]


def _space(
    facts: Facts, limit_s: float, cache: ImportanceCache
) -> tuple[dict[str, Any], list[list[Importance]], dict[str, Any]]:
    """Draw the figures of the search space.

    Returns:
        The figures by id, the importances over all scored trials by evaluator, and the template
        values of the section.
    """
    domains = facts.search.spec.domains
    first = facts.first_scored_rung
    scored = _points(facts, first, [*facts.curves])
    completed = _points(facts, facts.last_rung, [t.number for t in facts.completed])
    drawn: dict[str, Any] = {}
    importances: list[dict[str, str]] = []
    rankings: list[list[Importance]] = []
    scopes = (("all", scored), ("completed", completed))
    num = len(EVALUATORS) * sum(len(points) >= MIN_TRIALS for _, points in scopes)
    for scope, points in scopes:
        for evaluator in EVALUATORS:
            id_ = f"fig-importance-{len(importances)}"
            rows = []
            if len(points) >= MIN_TRIALS and domains:
                cache_key = evaluator, repr(points)
                if cache_key not in cache:
                    cache[cache_key] = find_importances(points, domains, evaluator, limit_s / num)
                rows = cache[cache_key]
            if rows:
                drawn[id_] = spaces.importance_bars(rows)
            if scope == "all":
                rankings.append(rows)
            steps = first if scope == "all" else facts.last_rung
            importances.append(
                report_text.importance(scope, evaluator, steps, len(points), id_ if rows else "")
            )
    keys = _by_importance(rankings, [*domains])
    drawn["fig-parallel"] = spaces.parallel(facts, keys)
    slices = []
    for index, (key, plot) in enumerate(spaces.slices(facts, keys)):
        drawn[f"fig-slice-{index}"] = plot
        slices.append((f"fig-slice-{index}", short(key)))
    texts = report_text.space(facts, len(keys), len(slices), rankings)
    return drawn, rankings, {"importances": importances, "slices": slices, **texts}


def _by_importance(rankings: Sequence[Sequence[Importance]], keys: Sequence[str]) -> list[str]:
    """Sort the keys by their mean share over the evaluators, the largest first."""
    shares = dict.fromkeys(keys, 0.0)
    for row in (row for ranking in rankings for row in ranking):
        shares[row.key] += row.share
    return sorted(keys, key=lambda key: -shares[key])
