"""The page: its text, its escaping and its behaviour in a browser."""

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_search import draw_samples, facts, trial

from tuner import report as report_command
from tuner.cli.status import ExitStatus
from tuner.page import page as report
from tuner.page.facts import Facts
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
HOSTILE = "</script><script>document.title='broken'</script>"
LR = {"low": 1e-5, "high": 1e-2, "log": True}


def searched(make_spec: MakeSpec, run_dir: Path, num: int = 24) -> Facts:
    """Return a search of two methods, with all outcomes and with hostile names."""
    choice = {"choice": [HOSTILE, "plain"]}
    spec = make_spec(
        training={
            "constraint": {"choice": ["gradient_penalty", "clip"]}, "critic_lr": LR,
            "generator_lr": LR, "gp_weight": {"low": 0.1, "high": 100.0, "log": True},
            "clip_value": 0.01, "n_critic": 5, "optimizer": "adam",
        },
        networks={"generator": "mine:Net", "generator_args": {"kind": choice}},
    )  # fmt: skip
    trials = []
    for n in range(num):
        values = {
            "training.constraint": "clip" if n % 3 == 0 else "gradient_penalty",
            "training.critic_lr": 1e-5 * 1.3**n,
            "training.generator_lr": 1e-2 / 1.3**n,
            "networks.generator_args.kind": choice["choice"][n % 2],
        }
        scores = [3.0 + n / 10, 2.0 + n / 10, 1.0 + n / 10][: 3 if n < 9 else 1 + n % 2]
        status = "completed" if n < 9 else "diverged" if n == 12 else "stopped"
        final = 1.0 + n / 10 if n < 2 else None
        message = HOSTILE if n == 12 else None
        trials.append(trial(spec, n, scores, status, final, values, message))
    draw_samples(run_dir, trials[:6])
    return facts(spec, trials, run_dir)


def test_a_search_of_any_size_gives_a_page(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec, fixed = make_spec(), make_spec(training={"critic_lr": 1e-4})
    some = [trial(spec, 0, [3.0, 2.0, 1.0], "completed"), trial(spec, 1, [4.0])]
    diverged = [trial(spec, n, [], "diverged") for n in range(3)]
    for made, words in (
        (facts(spec, []), "No trial has been proposed yet"),
        (facts(spec, some[:1]), "it was interrupted before its end"),
        (facts(spec, some), "It was not scored in the final"),
        (facts(spec, [trial(spec, 0, [4.0])]), "None of 1 trial has completed"),
        (facts(spec, diverged), "All 3 trials diverged"),
        (facts(fixed, [trial(fixed, 0, [1.0])]), "Nothing was searched"),
        (facts(spec, some, floor=None), "No sample pictures"),
    ):
        assert words in report.page(made, limit_s=0)


def test_the_answer_says_what_the_numbers_are(make_spec: MakeSpec, tmp_path: Path) -> None:
    spec = make_spec()
    at_default = {"training.critic_lr": 1e-4}
    trials = [
        trial(spec, 0, [3.0, 2.0, 1.0], "completed", final=1.10),
        trial(spec, 1, [4.0, 2.5, 0.9], "completed", final=1.12),
        trial(spec, 2, [6.0, 4.0], values=at_default),
    ]
    (tmp_path / "retrained.json").write_text(json.dumps(
        [{"trial_id": "00000", "generator_steps": 4000, "seeds": [1, 2], "w1": [1.4, 1.6]}]
    ))  # fmt: skip
    page = report.page(facts(spec, trials, tmp_path), limit_s=0)
    for words in (
        "At step 1,000, the last rung of the published point of gradient_penalty (trial 00002: "
        "stopped at 1,000), its w1 was 50% lower: 2 against 4. That trial&#39;s w1 at step 4,000 "
        "is not known; asha.spare_published: true would have it trained that far.",
        "It is tied within the error with trial 00001 (1.12), as if",
        "its mean w1 was 1.5 ± 1.3 (95%), with a standard deviation of 0.14, from 1.4 to 1.6.",
        "0.5 below the mean of the fresh seeds, within the 95% interval of a single seed",
        "1.5 <small>± 1.3 mean w1 of 2 fresh seeds at step 4,000",
        "In the final its w1 is 1.1 ± 0.039 (95%).",
        "no mlflow.json",
    ):
        assert words in page


def test_the_foot_says_where_each_session_ran(make_spec: MakeSpec, tmp_path: Path) -> None:
    sessions = [{"torch": "2.15.0", "host": "a"}, {"torch": "2.15.0", "host": HOSTILE}]
    (tmp_path / "provenance.json").write_text(json.dumps(sessions))
    page = report.page(facts(make_spec(), [], tmp_path), limit_s=0)
    foot = page[page.index("<footer>") : page.index("</footer>")]
    assert "Run by torch 2.15.0; on &lt;/script&gt;" in foot
    assert "2 sessions: they differ in host (a, &lt;/script&gt;" in foot
    assert HOSTILE not in foot


def test_the_page_of_three_thousand_trials_is_bounded_and_says_so(make_spec: MakeSpec) -> None:
    spec = make_spec(search={"num_trials": 3000})
    values = [{"training.critic_lr": 1e-5 + 3e-6 * n} for n in range(3000)]
    trials = [trial(spec, n, [1.0 + n / 100], values=v) for n, v in enumerate(values)]
    page = report.page(facts(spec, trials), limit_s=0)
    assert "Of 3,000 scored trials 400 are drawn" in page
    assert len(page) < 6_000_000
    assert page.count("<tr data-trial") == 3000


def test_importances_of_the_same_trials_are_computed_once(
    make_spec: MakeSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cache = searched(make_spec, tmp_path), {}
    first = report.page(made, limit_s=0, cache=cache)
    computed: list[int] = []

    def find_importances(points: Any, *_: Any) -> list[Any]:
        computed.append(len(points))
        return []

    monkeypatch.setattr(report, "find_importances", find_importances)
    second = report.page(made, limit_s=0, cache=cache)
    assert _figures(second) == _figures(first)
    assert computed == []
    report.page(searched(make_spec, tmp_path / "another", num=25), limit_s=0, cache=cache)
    assert set(computed) == {25}  # the nine completed trials are the same


def _figures(page: str) -> str:
    return page.partition('id="figures"')[2].partition(">")[2].partition("</script>")[0]


def drawn_in(page: str) -> dict[str, Any]:
    return json.loads(gzip.decompress(base64.b64decode(_figures(page))))


def test_the_command_refuses_what_is_no_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_command.main([str(tmp_path)]) == ExitStatus.BAD_INPUT
    assert "holds no search: it has no spec.yaml" in capsys.readouterr().err


def test_in_a_browser_all_is_drawn_sorted_and_harmless(
    make_spec: MakeSpec, tmp_path: Path, browser_page: Any
) -> None:
    path = tmp_path / "report.html"
    path.write_text(report.page(searched(make_spec, tmp_path), limit_s=1), encoding="utf-8")
    troubles: list[str] = []
    page = browser_page
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda m: m.type == "error" and troubles.append(m.text))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("document.body.dataset.drawn", timeout=60_000)
    assert troubles == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert page.title() == "search: report of a search"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    marks = ".scatterlayer path, .barlayer path, .boxlayer path, .parcoords"
    drawn = page.evaluate(
        "marks => [...document.querySelectorAll('.plot')].map("
        "box => [box.id, box.querySelectorAll(marks).length])",
        marks,
    )
    assert len(drawn) > 12
    assert [name for name, count in drawn if not count] == []
    look_at_pictures(page)
    look_at_training(page)
    sort_and_filter(page)
    # A4 less its margins: what is wider would have all of it printed smaller.
    page.set_viewport_size({"width": 695, "height": 900})
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(1000)
    wide = page.evaluate(
        "[...document.querySelectorAll('main :not(svg *)')].filter(one => "
        "!one.closest('#table') && one.getBoundingClientRect().right > innerWidth)"
        ".map(one => one.outerHTML.slice(0, 100))"
    )
    assert wide == []


def look_at_pictures(page: Any) -> None:
    shown = "[...document.querySelectorAll('#gallery figure')].filter(f => !f.hidden).length"
    assert page.inner_text("#gallery-step") == "step 4,000: 6 trials"
    assert page.evaluate(shown) == 6
    page.evaluate("selection.set('click', new Set([2, 20]))")  # the second has no picture
    assert page.evaluate(shown) == 1
    page.fill("#gallery-rung", "0")
    assert page.inner_text("#gallery figure:not([hidden])").strip() == "3. trial 00002: w1 3.2"
    page.evaluate("selection.set('click', null)")
    assert page.inner_text("#gallery-step") == "step 250: 6 trials"


def look_at_training(page: Any) -> None:
    drawn = "document.getElementById('fig-training').data.flatMap(trace => trace.y)"
    before = page.evaluate(drawn)
    page.select_option("#fig-training-series", "w1 at the rungs")
    page.wait_for_function(f"Math.max(...{drawn}) > 3")
    assert page.evaluate(drawn) != before
    title = "document.getElementById('fig-training').layout.yaxis.title.text"
    assert page.evaluate(title) == "w1 at the rungs"


def sort_and_filter(page: Any) -> None:
    def column(index: int) -> list[str]:
        rows = page.evaluate(
            "i => [...document.querySelectorAll('#trials tbody tr')].filter(r => !r.hidden)"
            ".map(r => r.cells[i].dataset.v ?? r.cells[i].textContent)", index)  # fmt: skip
        return list(rows)

    names = [text.strip(" \u2191\u2193") for text in page.locator("#trials th").all_inner_texts()]
    of_w1, of_status = names.index("w1"), names.index("status")
    head = page.locator("#trials th").nth(of_w1)
    box = page.locator("#trials tbody tr").first.locator("td").nth(of_w1).bounding_box()
    assert box["x"] + box["width"] <= 390, "the scores are seen on a telephone"
    head.locator("button").click()
    w1 = [float(text) for text in column(of_w1) if text]
    assert head.get_attribute("aria-sort") == "ascending"
    assert w1 == sorted(w1)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column(of_w1) if text] == sorted(w1, reverse=True)
    page.select_option("#filter-status", "completed")
    assert set(column(of_status)) == {"completed"}
    page.fill("#filter-text", "00003")
    page.wait_for_function("document.getElementById('filter-count').innerText.startsWith('1 ')")
    assert column(1) == ["00003"]
    assert page.locator("#filter-count").inner_text() == "1 of 24 trials"
