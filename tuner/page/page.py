"""A search as one HTML page, also while it runs.

The page is one file that needs no network: figures are plotly's, whose code is in it, and pictures
are embedded. A browser that opens it is told to load nothing from anywhere.
"""

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
from tuner.page import figures, spaces
from tuner.page import text as report_text
from tuner.page.baseline import baselines
from tuner.page.facts import Facts
from tuner.page.hints import hints
from tuner.page.pictures import samples
from tuner.page.style import short
from tuner.page.table import table
from tuner.retrain import read_retrained
from tuner.storage import write_atomically
from tuner.study import EVALUATORS, MIN_TRIALS, Importance, Point, find_importances
from tuner.tracking import read_run_links

#: Seconds that the sampling error of the importances may take, over all of them.
_LIMIT_S = 12.0
_PAGE = Path(__file__).with_name("template")
#: Importances, by what they were asked of.
KnownImportances = dict[tuple[str, str], list[Importance]]


def write_report(
    run_dir: Path,
    out: Path | None = None,
    *,
    is_over: bool = False,
    limit_s: float = _LIMIT_S,
    known: KnownImportances | None = None,
) -> Path:
    """Write the report of a search as it stands, by default to ``RUN/report.html``.

    Args:
        run_dir: The search's folder.
        out: Another file.
        is_over: Whether the caller is the driver, whose sitting is over though it holds the folder.
        limit_s: Seconds for the sampling error of the importances.
        known: What an earlier report found to matter: it is not looked for again where it was of
            the same trials. What this one finds is added.

    Returns:
        The file.

    Raises:
        BadInput: where the folder holds no search.
        OSError: where the file cannot be written.
    """
    search = results.read_snapshot(run_dir.resolve())
    if is_over:
        search = replace(search, is_running=False)
    path = out or run_dir / "report.html"
    write_atomically(path, page(Facts(search), limit_s, known))
    return path


def page(facts: Facts, limit_s: float = _LIMIT_S, known: KnownImportances | None = None) -> str:
    """The report as HTML."""
    run_dir = facts.search.run_dir
    drawn, told = _space(facts, limit_s, {} if known is None else known)
    drawn |= _trials(facts)
    seeds, defaults, found = read_retrained(run_dir), baselines(facts), read_run_links(run_dir)
    best = facts.search.best
    mine = [s for s in seeds if best is not None and s.trial_id == best.trial_id and len(s.w1) > 1]
    if best is not None and mine:
        # What was trained as long as the search did says most: it comes last, which is shown.
        mine.sort(key=lambda s: s.generator_steps in facts.curves.get(best.number, {}))
        own = facts.curves.get(best.number, {}).get(mine[-1].generator_steps)
        drawn["fig-seeds"] = figures.seeds(mine[-1].w1, own, best.trial_id)
    kept = {id_: made for id_, made in drawn.items() if made is not None}
    rankings = told.pop("rankings")
    nonce = secrets.token_urlsafe(16)
    env = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return env.get_template("report.html.j2").render(
        nonce=nonce,
        css=Markup((_PAGE / "report.css").read_text(encoding="utf-8")),
        js=Markup((_PAGE / "report.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
        figures=Markup(_as_json(kept)),
        heights={id_: int(made.layout.height) for id_, made in kept.items()},
        hints=hints(facts, rankings, defaults, seeds),
        foot=f"Written {time.strftime('%Y-%m-%d %H:%M:%S')} from {run_dir}.",
        **report_answer.answer(facts, defaults, mine),
        **report_text.trials(facts),
        **samples(facts),
        **told,
        **table(facts, found),
    )


def _as_json(drawn: dict[str, go.Figure]) -> str:
    """The figures by id, as JSON that nothing within it can end the element of."""
    plain = {id_: plotly.io.to_json(made, engine="json") for id_, made in drawn.items()}
    whole = {id_: json.loads(str(text)) for id_, text in plain.items()}
    text = json.dumps(whole, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _trials(facts: Facts) -> dict[str, go.Figure | None]:
    drawn = {
        "fig-steps": figures.curves(facts, "generator_steps"),
        "fig-seconds": figures.curves(facts, "training_seconds"),
        "fig-ladder": figures.rung_ladder(facts),
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
    facts: Facts, limit_s: float, known: KnownImportances
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The figures of what was searched, and the words with them."""
    domains = facts.search.spec.domains
    first = facts.first_scored_rung
    everyone = _points(facts, first, [*facts.curves])
    survivors = _points(facts, facts.last_rung, [t.number for t in facts.completed])
    drawn: dict[str, Any] = {}
    told: list[dict[str, str]] = []
    rankings: list[list[Importance]] = []
    scopes = (("all", everyone), ("completed", survivors))
    num = len(EVALUATORS) * sum(len(points) >= MIN_TRIALS for _, points in scopes)
    for scope, points in scopes:
        for evaluator in EVALUATORS:
            id_ = f"fig-importance-{len(told)}"
            rows = []
            if len(points) >= MIN_TRIALS and domains:
                asked = evaluator, repr(points)
                if asked not in known:
                    known[asked] = find_importances(points, domains, evaluator, limit_s / num)
                rows = known[asked]
            if rows:
                drawn[id_] = spaces.importance_bars(rows)
            if scope == "all":
                rankings.append(rows)
            steps = first if scope == "all" else facts.last_rung
            told.append(
                report_text.importance(scope, evaluator, steps, len(points), id_ if rows else "")
            )
    keys = _by_importance(rankings, [*domains])
    drawn["fig-parallel"] = spaces.parallel(facts, keys)
    cuts = []
    for index, (key, made) in enumerate(spaces.slices(facts, keys)):
        drawn[f"fig-slice-{index}"] = made
        cuts.append((f"fig-slice-{index}", short(key)))
    texts = report_text.space(facts, len(keys), len(cuts), rankings)
    return drawn, {"rankings": rankings, "importances": told, "slices": cuts, **texts}


def _by_importance(rankings: Sequence[Sequence[Importance]], keys: Sequence[str]) -> list[str]:
    """The keys by their mean share over the evaluators, the largest first."""
    shares = dict.fromkeys(keys, 0.0)
    for row in (row for ranking in rankings for row in ranking):
        shares[row.key] += row.share
    return sorted(keys, key=lambda key: -shares[key])
