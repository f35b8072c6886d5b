"""Every number of a report, recomputed from the files that are the truth of a search.

The recomputation reads the raw lines of ``study.log`` and ``metrics.jsonl``, and shares no code
with the report. The searches have trials of every end.
"""

import base64
import csv
import gzip
import json
import math
import re
import statistics
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import audited_search
import optuna
import pytest
from optuna.importance import (
    MeanDecreaseImpurityImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from scipy.stats import rankdata
from scipy.stats import t as student

NUM_TRIALS = 16
FAULTS = ("nan", "raise", *["none"] * (NUM_TRIALS - 2))
SHARED = {
    "data": {"dataset": "eight_gaussians"},
    "objective": {
        "critic_steps": 10, "final_trials": 2, "final_critic_steps": 10, "final_num_critics": 2,
    },
    "asha": {"grace_generator_steps": 30, "max_generator_steps": 90, "reduction_factor": 2},
    "search": {
        "num_trials": NUM_TRIALS, "sampler": "random", "time_budget_s": audited_search.BUDGET_S,
    },
    "reporting": {"report_every_generator_steps": 10, "checkpoint_every_generator_steps": 30},
    "resources": {"retries_per_trial": 0},
}  # fmt: skip
LR = {"low": 1e-5, "high": 1e-2, "log": True}
RUNGS = (30, 60, 90)
#: The trial at the published point of ``gp``, which ASHA spares.
SPARED = 6
#: How the next steps begin that a report may suggest.
HINTS = (
    "Resume the search", "Run more trials, or lower asha.max_generator_steps",
    "Use the best generator", "Train the best again with other seeds", "Train the best for longer",
    "Widen ", "Train trial ", "Fix ", "Narrow the ranges of the learning rates",
    "Search again around the best",
    "Read the messages in the table of trials", "Add it to initial_points of the next search",
)  # fmt: skip
ENDS: list[str] = ["completed", "stopped", "out of budget", "diverged", "failed"]


def networks(marks: Path) -> dict[str, Any]:
    faulty = {"fault": {"choice": ["none", "nan", "raise"]}, "marks": str(marks)}
    return {
        "generator": "faulty:Generator", "generator_args": faulty, "latent_dim": 4,
        "critic_width": 16, "critic_depth": 1,
    }  # fmt: skip


def gp(marks: Path) -> dict[str, Any]:
    """As gp.yaml, with the published point among the first trials."""
    training = {
        "gp_weight": {"low": 0.1, "high": 100, "log": True}, "n_critic": {"low": 1, "high": 5},
        "batch_size": 16, "critic_lr": LR, "generator_lr": LR,
    }  # fmt: skip
    published = {"gp_weight": 10, "n_critic": 5, "critic_lr": 1e-4, "generator_lr": 1e-4}
    points = [{"networks": {"generator_args": {"fault": fault}}} for fault in FAULTS]
    points[SPARED]["training"] = published
    sections = {"networks": networks(marks), "training": training, "initial_points": points}
    asha = {**SHARED["asha"], "spare_published": True}
    return {"name": "gp", **SHARED, "asha": asha, **sections}


def mixed(marks: Path) -> dict[str, Any]:
    """As mixed.yaml: keys that only some trials have, and no published point for one method."""
    training = {
        "constraint": {"choice": ["gradient_penalty", "clip"]},
        "gp_weight": {"low": 0.1, "high": 100, "log": True},
        "clip_value": {"low": 1e-3, "high": 1, "log": True},
        "optimizer": {"choice": ["adam", "rmsprop"]}, "n_critic": 1, "batch_size": 16,
        "critic_lr": LR, "generator_lr": LR,
    }  # fmt: skip
    points = [
        {
            "networks": {"generator_args": {"fault": fault}},
            "training": {"constraint": ("gradient_penalty", "clip")[number % 2]},
        }
        for number, fault in enumerate(FAULTS)
    ]
    sections = {"networks": networks(marks), "training": training, "initial_points": points}
    return {"name": "mixed", **SHARED, **sections}


class Page(HTMLParser):
    """The texts of a page: paragraphs, cards, tables by their headings, and the figures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.cards: list[list[str]] = []
        self.tables: list[list[list[str]]] = []
        self.figures: dict[str, Any] = {}
        self._open: list[str] = []
        self._in_figures = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_figures = ("id", "figures") in attrs
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")
        elif tag == "dl":
            self.cards = []
        elif tag == "dt":
            self.cards.append([""])
        elif tag in ("dd", "small") and self.cards and "dl" in self._open:
            self.cards[-1].append("")
        elif tag in ("p", "div", "figcaption", "li"):
            self.texts.append("")
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._in_figures:
            packed = base64.b64decode(data)
            self.figures, self._in_figures = json.loads(gzip.decompress(packed)), False
        elif {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data
        elif {"dt", "dd"} & set(self._open):
            self.cards[-1][-1] += data
        elif self.texts and not {"script", "style"} & set(self._open):
            self.texts[-1] += data

    @property
    def hints(self) -> dict[str, str]:
        """The suggested next steps: the reason for each, and its command."""
        texts = [text for text in self.texts if text.startswith(HINTS)]
        return {text.partition(": ")[0]: text.partition(": ")[2] for text in texts}

    def table(self, heading: str) -> list[dict[str, str]]:
        (rows,) = [table for table in self.tables if heading in table[0]]
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


@dataclass
class Truth:
    """What ``study.log`` and ``metrics.jsonl`` say, line by line."""

    params: dict[int, dict[str, Any]] = field(default_factory=dict)
    endings: dict[int, dict[str, Any]] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)
    reports: dict[int, dict[int, dict[str, float]]] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path) -> "Truth":
        truth = cls()
        for line in map(json.loads, (run_dir / "study.log").read_text().splitlines()):
            attrs = line.get("user_attr", {})
            if line["op_code"] == 2:
                truth.study |= attrs
            elif line["op_code"] == 4:
                truth.params[len(truth.params)] = params_of(line)
                truth.domains |= line["distributions"]
            elif line["op_code"] == 8 and "ending" in attrs:
                truth.endings[line["trial_id"]] = attrs["ending"]
        for report in map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines()):
            steps = int(report["generator_steps"])
            truth.reports.setdefault(report["trial"], {})[steps] = report
        return truth

    def curve(self, number: int) -> dict[int, float]:
        reports = self.reports.get(number, {})
        return {steps: report["w1"] for steps, report in reports.items() if "w1" in report}

    def steps(self, number: int) -> int:
        return max(self.reports.get(number, {}), default=0)

    def outcome(self, number: int) -> str:
        status = self.endings[number]["status"]
        if status != "stopped":
            return status
        steps = self.steps(number)
        return f"stopped at {steps}" if steps in RUNGS else "out of budget"

    def having(self, outcome: str) -> list[int]:
        return [number for number in self.params if self.outcome(number) == outcome]

    @property
    def finals(self) -> dict[int, dict[str, float]]:
        return {int(number): final for number, final in self.study["finals"].items()}

    @property
    def places(self) -> list[int]:
        completed = self.having("completed")
        completed.sort(key=lambda n: (
            n not in self.finals, self.finals.get(n, {}).get("w1_final", 0),
            min(self.curve(n).values()), n,
        ))  # fmt: skip
        others = [n for n in self.params if n not in completed]
        others.sort(key=lambda n: (-max(self.curve(n), default=0), *self.last_w1(n), n))
        return [*completed, *others]

    def last_w1(self, number: int) -> list[float]:
        return [*self.curve(number).values()][-1:]

    def best_rung(self, number: int) -> int | None:
        curve = self.curve(number)
        return min(curve, key=lambda steps: (curve[steps], steps), default=None)

    @property
    def best(self) -> int:
        return self.places[0]

    def last(self, number: int, key: str) -> float:
        return self.reports.get(number, {}).get(self.steps(number), {}).get(key, 0.0)

    def common(self, one: int, other: int) -> int:
        return max(self.curve(one).keys() & self.curve(other).keys())


def params_of(line: dict[str, Any]) -> dict[str, Any]:
    params = {}
    for key, value in line["params"].items():
        distribution = json.loads(line["distributions"][key])
        choices = distribution["attributes"].get("choices")
        params[key] = value if choices is None else choices[int(value)]
    return params


def number(text: str) -> float:
    return float(text.replace(",", ""))


def numbers(text: str) -> list[float]:
    found = re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", text)
    return [number(each.rstrip(",")) for each in found]


def about(value: float, digits: int = 4) -> Any:
    """Equal as far as so many significant digits are printed."""
    return pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits), abs=1e-12)


@dataclass
class Audited:
    run_dir: Path
    truth: Truth
    page: Page

    def sentence(self, words: str) -> str:
        """The one sentence with these words."""
        texts = " ".join(" ".join(text.split()) for text in self.page.texts)
        (found,) = [s for s in re.split(r"(?<=[.:]) ", texts) if words in s]
        return found


@pytest.fixture(scope="module", params=[gp, mixed])
def audited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("audit")
    run_dir = folder / "runs" / request.param.__name__
    audited_search.run(run_dir, request.param(folder), slow=(11, 40))
    return Audited(run_dir, Truth.read(run_dir), Page((run_dir / "report.html").read_text()))


def test_the_searches_have_every_end(audited: Audited) -> None:
    ends = {audited.truth.outcome(n) for n in audited.truth.params}
    assert ends >= {"completed", "stopped at 30", "out of budget", "diverged", "failed"}
    assert len(audited.truth.finals) == 2
    if audited.run_dir.name == "gp":
        assert audited.truth.outcome(SPARED) == "completed"


def test_the_headline_is_the_finals(audited: Audited) -> None:
    truth, best = audited.truth, audited.truth.finals[audited.truth.best]
    expected = [best["w1_final"], 1.96 * best["w1_final_stderr"]]
    text = next(text for text in audited.page.texts if "w1 in the final" in text)
    assert numbers(text.split("w1")[0]) == [about(expected[0]), about(expected[1], 2)]
    found = numbers(audited.sentence("In the final its w1 is").partition("is")[2])
    assert found[:2] == [about(expected[0]), about(expected[1], 2)]
    (shown,) = re.findall(r"Best: trial (\d+)", " ".join(audited.page.texts))
    assert int(shown) == truth.best


def test_ties_and_the_floor_of_the_final_are_those_of_paired_differences(audited: Audited) -> None:
    study, best = audited.truth.study, audited.truth.best
    (other,) = set(audited.truth.finals) - {best}

    def half_width(one: str, other: str) -> float:
        both = [study[f"final_readings:{name}"] for name in (one, other)]
        parts = []
        for part in ("real", "generated", "critics"):
            a, b = (readings[part] for readings in both)
            paired = part != "generated" or len(a) == len(b)
            parts += [[x - y for x, y in zip(a, b, strict=True)]] if paired else [a, b]
        variances = [statistics.variance(part) / len(part) for part in parts]
        weights = [v**2 / (len(part) - 1) for v, part in zip(variances, parts, strict=True)]
        freedom = sum(variances) ** 2 / sum(weights)
        return float(student.ppf(0.975, freedom)) * math.sqrt(sum(variances))

    w1 = {n: final["w1_final"] for n, final in audited.truth.finals.items()}
    is_tied = w1[other] - w1[best] <= half_width(str(best), str(other))
    text = " ".join(audited.page.texts)
    assert (f"tied within the error with trial {other:05d}" in text) == is_tied
    floor = study["final_floor"]
    error = half_width(str(best), "floor")
    gap = [about(abs(w1[best] - floor["w1"]), 2), about(error, 2)]
    found = numbers(audited.sentence("critics score real samples"))
    assert found == [about(floor["w1"]), about(1.96 * floor["w1_stderr"], 2)]
    is_above = w1[best] - floor["w1"] > error
    words = "the best lies above that" if is_above else "the best does not lie above that"
    assert numbers(audited.sentence(words)) == gap


def test_the_verdict_is_that_of_the_best_rung(audited: Audited) -> None:
    truth = audited.truth
    report = truth.reports[truth.best][truth.best_rung(truth.best)]
    values = [report["w1"], 1.96 * report["w1_stderr"]]
    assert numbers(audited.sentence(f"{values[0]:.4g} ±")) == [
        about(values[0]), about(values[1], 2), 95
    ]  # fmt: skip
    floor = truth.study["floor"]
    found = numbers(audited.sentence("at the same precision (the floor)"))
    assert found == [about(floor["w1_floor"]), about(1.96 * floor["w1_floor_stderr"], 2)]
    error = 1.96 * math.hypot(report["w1_stderr"], floor["w1_floor_stderr"])
    assert ("does not differ from it" in " ".join(audited.page.texts)) == (
        report["w1"] - floor["w1_floor"] <= error
    )


def test_the_cards_add_up(audited: Audited) -> None:
    truth, cards = audited.truth, {card[0]: card[1:] for card in audited.page.cards}
    counts: dict[str, int] = dict.fromkeys(ENDS, 0)
    for number_ in truth.params:
        counts[truth.outcome(number_).split(" at")[0]] += 1
    assert cards["trials"][1] == ", ".join(f"{n} {end}" for end, n in counts.items() if n)
    assert numbers(cards["trials"][0]) == [
        len(truth.params),
        *[NUM_TRIALS] * (len(truth.params) < NUM_TRIALS),
    ]
    hours, minutes, seconds = map(int, cards["wall time"][0].split(":"))
    assert 3600 * hours + 60 * minutes + seconds == int(truth.study["elapsed_s"])
    parts = [
        sum(truth.last(n, f"{kind}_cpu_seconds") for n in truth.params)
        for kind in ("training", "scoring")
    ]
    finals = [final["final_scoring_cpu_seconds"] for final in truth.finals.values()]
    parts.append(sum(finals) + truth.study["final_floor"]["cpu_seconds"])
    total, text = cards["CPU time of the trials"]
    assert numbers(text) == [round(part) for part in parts]
    assert numbers(total) == [sum(numbers(text))]
    steps = sum(truth.steps(n) for n in truth.params)
    saved = sum(
        90 - truth.steps(n) for n in truth.params if truth.outcome(n).startswith("stopped at")
    )
    assert numbers(cards["generator steps"][0]) == [steps]
    share, text = cards["saved by stopping early"]
    assert numbers(share) == [round(100 * saved / (saved + steps))]
    assert numbers(text) == [saved]


def test_the_comparison_is_at_the_last_common_rung(audited: Audited) -> None:
    truth = audited.truth
    rows = audited.page.table("compared with")
    completed = sorted(truth.having("completed"), key=lambda n: (truth.curve(n)[90], n))
    assert rows[-1]["compared with"] == f"median of the {len(completed)} completed trials"
    assert int(rows[-1]["trial"]) == completed[len(completed) // 2]
    published = [row for row in rows if row["compared with"].startswith("published")]
    assert [int(row["trial"]) for row in published] == [SPARED] * (audited.run_dir.name == "gp")
    for row in rows:
        trial = int(row["trial"])
        steps = truth.common(trial, truth.best)
        w1, best_w1 = truth.curve(trial)[steps], truth.curve(truth.best)[steps]
        assert int(row["at step"]) == steps
        assert number(row["its w1"]) == about(w1)
        assert number(row["the best's w1 there"]) == about(best_w1)
        if trial == truth.best:
            assert row["the best is"] == "this trial"
        else:
            direction = "lower" if best_w1 <= w1 else "higher"
            assert row["the best is"] == f"{abs(1 - best_w1 / w1):.0%} {direction}"
    if published and truth.best != SPARED:
        steps = truth.common(SPARED, truth.best)
        assert steps == 90
        found = numbers(audited.sentence("both at the last rung"))
        assert found == [about(truth.curve(n)[steps]) for n in (truth.best, SPARED)]


def test_the_rungs_count_every_trial_once(audited: Audited) -> None:
    truth = audited.truth
    entered = [*truth.params]
    for row, rung in zip(audited.page.table("entered"), RUNGS, strict=True):
        past = [n for n in entered if truth.steps(n) > rung or truth.outcome(n) == "completed"]
        ends = [truth.outcome(n).split(" at")[0] for n in entered if n not in past]
        w1 = [truth.curve(n)[rung] for n in truth.params if rung in truth.curve(n)]
        assert [int(row[name]) for name in ("rung", "entered", "continued")] == [
            rung, len(entered), len(past),
        ]  # fmt: skip
        for end in ("stopped", "out of budget", "diverged", "failed"):
            assert int(row[end]) == ends.count(end)
        assert number(row["best w1"]) == about(min(w1))
        assert number(row["median w1"]) == about(statistics.median(w1))
        entered = past


def test_the_table_of_trials_has_their_values(audited: Audited) -> None:
    truth = audited.truth
    rows = audited.page.table("place")
    assert [int(row["trial"]) for row in rows] == truth.places
    for place, row in enumerate(rows, start=1):
        trial = int(row["trial"])
        curve, final = truth.curve(trial), truth.finals.get(trial, {})
        rung = truth.best_rung(trial)
        at = truth.reports.get(trial, {}).get(rung or truth.steps(trial), {})
        assert int(row["place"]) == place
        assert row["status"] == truth.outcome(trial)
        assert int(row["steps"]) == truth.steps(trial)
        cells = {
            "w1": (curve.get(rung), 4),
            "at rung": (rung, 6),
            "± 95%": (1.96 * at["w1_stderr"] if curve else None, 2),
            "w1 final": (final.get("w1_final"), 4),
        }
        for name, (value, digits) in cells.items():
            assert row[name] == "" if value is None else number(row[name]) == about(value, digits)
        if math.isfinite(at.get("critic_estimate", math.nan)):
            assert number(row["own critic"]) == about(at["critic_estimate"])
        if truth.reports.get(trial):
            seconds = truth.last(trial, "training_seconds")
            assert number(row["training s"]) == pytest.approx(seconds, abs=0.051)
        for key, value in truth.params[trial].items():
            cell = row[key.split(".", 1)[1]]
            assert cell == value if isinstance(value, str) else number(cell) == about(value)
        assert row["message"] == (truth.endings[trial]["message"] or "")


def test_the_curves_and_slices_are_the_scores(audited: Audited) -> None:
    truth = audited.truth
    expected = sorted((s, w1) for n in truth.params for s, w1 in truth.curve(n).items())
    lines = [trace for trace in audited.page.figures["fig-steps"]["data"] if "(" in trace["name"]]
    drawn = [
        (x, y) for line in lines for x, y in zip(line["x"], line["y"], strict=True) if x is not None
    ]
    assert sorted(drawn) == expected
    slices = [f for id_, f in audited.page.figures.items() if id_.startswith("fig-slice")]
    assert len(slices) == len({key for params in truth.params.values() for key in params})
    for figure in slices:
        name = figure["layout"]["xaxis"]["title"]["text"]
        (key,) = {k for ps in truth.params.values() for k in ps if k.split(".", 1)[1] == name}
        of_key = [n for n, params in truth.params.items() if key in params]
        first, last = (
            sorted(truth.curve(n)[rung] for n in of_key if rung in truth.curve(n))
            for rung in (30, 90)
        )
        shown = {trace["name"]: sorted(trace["y"]) for trace in figure["data"]}
        assert shown["first rung, all scored"] == first
        assert shown.get("completed", []) == last


def importances(truth: Truth, rung: int, numbers: list[int], evaluator: Any) -> dict[str, float]:
    """Each key's, among the trials that have it, by all keys that all of these have."""
    shares = {}
    for key in truth.domains:
        of_key = [n for n in numbers if rung in truth.curve(n) and key in truth.params[n]]
        if len(of_key) < 8:
            continue
        shared = sorted(k for k in truth.domains if all(k in truth.params[n] for n in of_key))
        study = optuna.create_study()
        for n, rank in zip(of_key, rankdata([truth.curve(n)[rung] for n in of_key]), strict=True):
            domains = {
                k: optuna.distributions.json_to_distribution(truth.domains[k]) for k in shared
            }
            values = {k: truth.params[n][k] for k in shared}
            study.add_trial(optuna.create_trial(value=rank, params=values, distributions=domains))
        found = get_param_importances(study, evaluator=evaluator, params=shared)
        share = found[key]
        shares[key.split(".", 1)[1]] = share if math.isfinite(share) else 0.0
    return shares


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_happened_when_is_that_of_the_reports(audited: Audited) -> None:
    truth, figures = audited.truth, audited.page.figures
    spans = {}
    for n, reports in truth.reports.items():
        first, last = reports[min(reports)], reports[max(reports)]
        start_s = first["unix_time_s"] - first["training_seconds"] - first["scoring_seconds"]
        spans[n] = (start_s, last["unix_time_s"])
    first_s = min(start_s for start_s, _ in spans.values())
    bars = {
        n: (base, length)
        for trace in figures["fig-timeline"]["data"]
        for n, base, length in zip(trace["customdata"], trace["base"], trace["x"], strict=True)
    }
    assert bars.keys() == spans.keys()
    for n, (start_s, end_s) in spans.items():
        assert bars[n] == pytest.approx((start_s - first_s, end_s - start_s), rel=1e-4, abs=1e-3)
    points, lowest = figures["fig-best-time"]["data"]
    assert sorted(points["customdata"]) == truth.having("completed")
    scores = [truth.curve(n)[RUNGS[-1]] for n in points["customdata"]]
    assert points["y"] == pytest.approx(scores)
    assert points["x"] == sorted(points["x"])
    assert lowest["y"] == pytest.approx([min(scores[: i + 1]) for i in range(len(scores))])


def test_the_training_is_that_of_the_reports(audited: Audited) -> None:
    truth, figures = audited.truth, audited.page.figures
    series = figures["fig-training"]["layout"]["meta"]["series"]
    for name, key in (("own critic's estimate", "critic_estimate"), ("w1 at the rungs", "w1")):
        found = {
            (n, steps): value
            for trace in series[name]
            for n, steps, value in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
            if n is not None
        }
        expected = {
            (n, steps): report[key]
            for n, reports in truth.reports.items()
            for steps, report in reports.items()
            if math.isfinite(report.get(key, math.nan))
        }
        assert found == pytest.approx(expected, rel=1e-4)


def test_the_final_compared_the_samples_of_each_finalist(audited: Audited) -> None:
    files = {int(path.stem): path for path in (audited.run_dir / "comparisons").iterdir()}
    assert files.keys() == audited.truth.finals.keys()
    first = json.loads(files[audited.truth.best].read_text())["columns"][0]
    real, generated = audited.page.figures["fig-marginal-0"]["data"]
    assert (real["y"], generated["y"]) == (first["real"], first["generated"])


def test_the_importances_are_those_of_optuna(audited: Audited) -> None:
    truth, figures = audited.truth, audited.page.figures
    evaluators = (
        MeanDecreaseImpurityImportanceEvaluator(n_trees=16, seed=0),
        PedAnovaImportanceEvaluator(target_quantile=0.25),
    )
    scopes = ((30, [*truth.params]), (90, truth.having("completed")))
    expected = [importances(truth, *scope, each) for scope in scopes for each in evaluators]
    # Too few trials of mixed have a penalty's weight, or clip.
    assert len(expected[0]) == len(truth.domains) - 2 * (audited.run_dir.name == "mixed")
    for index, shares in enumerate(expected):
        name = f"fig-importance-{index}"
        if not shares:
            assert name not in figures
            continue
        bars = figures[name]["data"][0]
        drawn = dict(zip(bars["y"], bars["x"], strict=True))
        assert drawn == pytest.approx(shares, abs=1e-9)
        assert [*drawn.values()] == sorted(drawn.values())  # the largest on top


def test_the_next_steps_follow_from_the_files(audited: Audited) -> None:
    truth, best, hints = audited.truth, audited.truth.best, audited.page.hints
    curve, reports = truth.curve(best), truth.reports[best]
    expected = {"Use the best generator": [best], "Train the best again with other seeds": None}
    if (num := len(truth.having("completed"))) < 5:
        expected["Run more trials, or lower asha.max_generator_steps"] = [num]
    else:
        expected["Search again around the best"] = None
    for key, text in truth.domains.items():
        attributes = json.loads(text)["attributes"]
        if "low" not in attributes or key not in truth.params[best]:
            continue
        low, high, value = attributes["low"], attributes["high"], truth.params[best][key]
        name = json.loads(text)["name"]
        if name == "IntDistribution":
            ends = [high] if value == high else []  # one critic step is the least there is
        else:
            share = math.log(value / low) / math.log(high / low)
            ends = [low] if share <= 0.05 else [high] if share >= 0.95 else []
        expected |= {
            f"Widen {key} past {end:.4g}".replace("e-0", "e-"): [value, end] for end in ends
        }
    before, last = curve[60], curve[90]
    if before - last > 1.96 * reports[90]["w1_stderr"] * 2**0.5 and last < 0.9 * before:
        expected["Train the best for longer"] = [before, last]
    ahead = {
        n: truth.curve(n)[at] - curve[at]
        for n in truth.having("out of budget")
        if truth.curve(n)
        for at in [truth.common(n, best)]
        if curve[at] - truth.curve(n)[at]
        > 1.96 * math.hypot(truth.reports[n][at]["w1_stderr"], reports[at]["w1_stderr"])
    }
    if ahead:
        cut = min(ahead, key=lambda n: ahead[n])
        at = truth.common(cut, best)
        ended = [at, truth.curve(cut)[at], curve[at]]
        expected[f"Train trial {cut:05d} to the last rung"] = ended
    # No hint at a published point: gp has it, and mixed cannot, as its n_critic is fixed.
    assert hints.keys() == expected.keys()
    for hint, values in expected.items():
        found = [x for x in numbers(hints[hint]) if x != 1 or values == [1]]
        for value in values or ():
            assert any(x == about(value) for x in found), (hint, hints[hint])


def test_the_own_critics_pick_is_recomputed(audited: Audited) -> None:
    truth = audited.truth
    for rung in (30, 90):
        pairs = {
            n: (truth.reports[n][rung]["critic_estimate"], truth.curve(n)[rung])
            for n in truth.params
            if rung in truth.curve(n)
        }
        picked = min(pairs, key=lambda n: pairs[n])
        ones = [(a, b) for a in pairs for b in pairs if a < b]
        alike = [(pairs[a][0] - pairs[b][0]) * (pairs[a][1] - pairs[b][1]) > 0 for a, b in ones]
        place = 1 + sum(w1 < pairs[picked][1] for _, w1 in pairs.values())
        text = next(t for t in audited.page.texts if t.startswith(f"At step {rung}, of"))
        found = numbers(text)
        assert found[:2] == [rung, len(pairs)]
        assert f"{sum(alike) / len(alike):.0%} of all pairs" in text
        if place > 1:
            assert f"trial {picked:05d}" in text
            assert f"place {place}, with" in text
        else:
            assert f"both pick trial {picked:05d}" in text


def test_the_table_on_the_disk_is_that_of_the_journal(audited: Audited) -> None:
    truth = audited.truth
    with (audited.run_dir / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial_id"]) for row in rows] == [*truth.params]
    for row in rows:
        trial = int(row["trial_id"])
        curve, ending = truth.curve(trial), truth.endings[trial]
        assert (row["status"], row["message"]) == (ending["status"], ending["message"] or "")
        assert int(row["generator_steps"]) == truth.steps(trial)
        at_rung = truth.reports.get(trial, {}).get(max(curve, default=-1), {})
        final = truth.finals.get(trial, {})
        expected = {
            "w1": at_rung.get("w1"), "w1_stderr": at_rung.get("w1_stderr"),
            "w1_final": final.get("w1_final"), "w1_final_stderr": final.get("w1_final_stderr"),
            "final_scoring_seconds": final.get("final_scoring_seconds"),
            "w1_best": min(curve.values(), default=None), "best_rung": truth.best_rung(trial),
        }  # fmt: skip
        for name, value in expected.items():
            assert row[name] == ("" if value is None else str(value))
        for name in ("training_seconds", "scoring_seconds"):
            assert row[name] == (str(truth.last(trial, name)) if trial in truth.reports else "")
        for key, value in truth.params[trial].items():
            cell = row[key.split(".", 1)[1]]
            assert cell == value if isinstance(value, str) else float(cell) == value
