"""The selected trials of a page, in a browser: by an expression, by a brush and by a click."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_search import facts, trial

from tuner.page import page as report
from tuner.page.table import filter_name
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]
LR = {"low": 1e-5, "high": 1e-2, "log": True}
NUM = 12


@pytest.fixture
def page(make_spec: MakeSpec, tmp_path: Path, browser_page: Any) -> Any:
    """A search in which trial n has the learning rate 1e-5 * 1.7**n; even ones clip."""
    spec = make_spec(
        training={
            "constraint": {"choice": ["gradient_penalty", "clip"]}, "critic_lr": LR,
            "gp_weight": {"low": 0.1, "high": 100.0, "log": True}, "clip_value": 0.01,
            "generator_lr": 1e-4, "n_critic": 5, "optimizer": "adam",
        }
    )  # fmt: skip
    trials = []
    for n in range(NUM):
        values = {
            "training.constraint": "gradient_penalty" if n % 2 else "clip",
            "training.critic_lr": 1e-5 * 1.7**n,
        }
        scores = [3.0 + n, 2.0 + n, 1.0 + n] if n < 6 else [3.0 + n] if n < 11 else []
        status = "completed" if n < 6 else "stopped" if n < 11 else "diverged"
        trials.append(trial(spec, n, scores, status, values=values))
    path = tmp_path / "report.html"
    path.write_text(report.page(facts(spec, trials), limit_s=0), encoding="utf-8")
    browser_page.set_default_timeout(60_000)  # of a busy machine
    browser_page.goto(path.as_uri())
    browser_page.wait_for_function("document.body.dataset.drawn")
    return browser_page


def rows(page: Any) -> list[int]:
    return sorted(page.evaluate(
        "[...document.querySelectorAll('#trials tbody tr')].filter(row => !row.hidden)"
        ".map(row => Number(row.dataset.trial))"))  # fmt: skip


def drawn(page: Any, figure: str) -> list[int]:
    """The trials of which a figure shows a point."""
    return sorted(page.evaluate(
        "id => [...new Set(document.getElementById(id).data.flatMap(trace => "
        "trace.meta !== 'trials' ? [] : "
        "trace.customdata.filter((n, i) => n !== null && trace.y?.[i] !== null)))]",
        figure))  # fmt: skip


def wait_for(page: Any, figure: str, wanted: list[int]) -> None:
    """Until a figure shows these trials; figures follow one after the other."""
    for _ in range(300):
        if drawn(page, figure) == wanted:
            return
        page.wait_for_timeout(50)
    assert drawn(page, figure) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a < 2", [1]),
        ("a <= 2 and b == 'x'", [1]),
        ('a < 2 or b == "y"', [1, 2]),
        ("not a < 2", [2, 3]),
        ("a != 1 and not (a >= 3 or b == 'y')", []),
        ("1 < a <= 3", [2, 3]),
        ("a.c_2 > -1.5e-3", [1, 2]),  # the third is empty, and fails
        ("not a.c_2 > -1.5e-3", [3]),
        ("b == 'x' or a == 3 and a < 2", [1]),
        ("2==a", [2]),
    ],
)
def test_an_expression_holds_where_it_says(page_of_scripts: Any, text: str, wanted: list[int]):
    assert page_of_scripts.evaluate(RUN, text) == wanted


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("z < 1", "no column z: text needs quotes, and the columns are a, b, a.c_2"),
        ("b == x", "no column x: text needs quotes, and the columns are a, b, a.c_2"),
        ("a = 1", "cannot read = 1: equal is =="),
        ("a <", 'needs a column, a number or "text" at its end'),
        ("a < 1 b", "cannot read b"),
        ("(a < 1", "a bracket is not closed"),
        ("a < 1)", "cannot read )"),
        ("a < 'x'", "a and 'x': a number and a text do not compare"),
        ("a and b < 1", "a needs a comparison, such as a < 1"),
        ("a < alert(1)", "no column alert: text needs quotes, and the columns are a, b, a.c_2"),
        ("name < 1", "no column name: text needs quotes, and the columns are a, b, a.c_2"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_said_plainly(page_of_scripts: Any, text: str, trouble: str):
    assert page_of_scripts.evaluate(RUN, text) == trouble


#: Three rows: what an expression holds for, or the message of what is wrong with it.
RUN = """text => {
  const rows = [{a: 1, b: "x", "a.c_2": 0}, {a: 2, b: "y", "a.c_2": 5}, {a: 3, b: "", "a.c_2": ""}];
  const columns = new Map([["a", true], ["b", false], ["a.c_2", true]]);
  try {
    const holds = parseExpression(text, columns);
    return rows.filter((row) => holds((name) => row[name])).map((row) => row.a);
  } catch (error) {
    return error.message;
  }
}"""


@pytest.fixture(scope="module")
def page_of_scripts(browser: Any) -> Any:
    """An empty page with the parser alone."""
    page = browser.new_page()
    page.add_script_tag(path=report._TEMPLATES / "expression.js")
    return page


def test_a_filter_selects_in_the_table_and_in_all_figures(page: Any) -> None:
    everybody, scored = list(range(NUM)), list(range(11))
    assert rows(page) == everybody
    assert drawn(page, "fig-steps") == scored
    page.fill("#filter-text", 'critic_lr < 1e-4 and constraint == "clip"')
    wanted = [0, 2, 4]
    wait_for(page, "fig-steps", wanted)
    for figure in ("fig-slice-0", "fig-critic-0", "fig-parallel", "fig-method-0-all"):
        wait_for(page, figure, wanted)
    assert rows(page) == wanted
    assert page.inner_text("#selected span") == "3 of 12 trials, by the table's filter"
    page.fill("#filter-text", "critic_lr < x")
    page.wait_for_function("document.getElementById('filter-error').textContent")
    assert "No filter: no column x" in page.inner_text("#filter-error")
    assert rows(page) == everybody, "a filter that is wrong hides nothing"
    page.fill("#filter-text", "status == 'stopped'")
    wait_for(page, "fig-steps", [6, 7, 8, 9, 10])
    page.click("#selected button")
    wait_for(page, "fig-steps", scored)
    assert rows(page) == everybody
    assert page.is_hidden("#selected")


def test_a_brush_and_a_click_select_in_the_table_and_in_all_figures(page: Any) -> None:
    brush = "Plotly.restyle('fig-parallel', {'dimensions[0].constraintrange': [[1, 4]]}, [0])"
    page.evaluate(brush)  # the axis of the places
    places = [0, 1, 2, 3]
    wait_for(page, "fig-steps", places)
    assert rows(page) == places
    assert drawn(page, "fig-parallel") == list(range(11)), "its own lines stay, greyed by plotly"
    page.fill("#filter-text", "critic_lr > 2e-5")
    wait_for(page, "fig-steps", [2, 3])
    wait_for(page, "fig-parallel", list(range(2, 11)))
    range_ = "document.getElementById('fig-parallel').data[0].dimensions[0].constraintrange"
    assert page.evaluate(range_) in ([1, 4], [[1, 4]]), "the brush stays"
    page.click("#trials tr[data-trial='3']")
    wait_for(page, "fig-steps", [3])
    assert rows(page) == [2, 3], "the others can still be clicked"
    assert page.inner_text("#selected span") == (
        "1 of 12 trials, by the parallel coordinates, the table's filter, clicks"
    )
    page.click("#selected button")
    wait_for(page, "fig-steps", list(range(11)))
    wait_for(page, "fig-parallel", list(range(11)))
    assert rows(page) == list(range(NUM))
    assert not page.evaluate(range_)


def test_the_names_of_a_filter_are_words() -> None:
    columns = ("± 95%", "w1 final", "final seeds' mean", "critic_lr", "generator_args.kind", "2x")
    names = ["error", "w1_final", "final_seeds_mean", "critic_lr", "generator_args.kind", "_2x"]
    assert [*map(filter_name, columns)] == names
