"""Trials by method: what is counted and what compares."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tuner import compare
from tuner.cli.status import ExitStatus
from tuner.errors import BadInput
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]

HEADING = "trial_id,status,generator_steps,w1,w1_final"
EXTRA = ("w1_stderr", "training_seconds")
COLUMNS = (*HEADING.split(","), "constraint", "clip_value", *EXTRA, "seed")
#: Seconds of training; a trial that failed at once has none.
SECONDS = ("2", "4", "6", "0.5", "8", "2", "7", "", "1.2")
TRIALS = (
    ("completed", 400, "0.5", "gradient_penalty", ""),
    ("completed", 400, "0.9", "gradient_penalty", ""),
    ("completed", 400, "0.7", "gradient_penalty", ""),
    ("stopped", 100, "3.0", "gradient_penalty", ""),
    ("completed", 400, "2.0", "clip", "0.01"),
    ("stopped", 100, "0.1", "clip", "0.1"),
    ("diverged", 350, "0.2", "clip", "0.1"),
    ("failed", 20, "", "clip", "0.01"),
    ("running", 120, "0.3", "clip", "0.01"),
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with (tmp_path / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(
            (n, *trial[:3], "", *trial[3:], "0.05" if trial[2] else "", seconds, n)
            for n, (trial, seconds) in enumerate(zip(TRIALS, SECONDS, strict=True))
        )
    return tmp_path


def compared(
    run_dir: Path, *by: str, below: float | None = None, within: float | None = None
) -> list[dict[str, str]]:
    rows = compare.read(run_dir, by)
    bound = compare.Bound.of(rows, below, within)
    names = compare.headings(by, bound)
    groups = compare.compare(rows, by, bound)
    return [dict(zip(names, compare.cells_of(group, bound), strict=True)) for group in groups]


def test_best_and_median_are_of_completed_trials_which_alone_share_a_rung(run_dir: Path) -> None:
    """The clipped trial with 0.1 ended at the first rung, the one with 0.2 broke after it."""
    penalty, clip = compared(run_dir, "constraint")
    assert penalty == {
        **{"constraint": "gradient_penalty", "trials": "4", "completed": "3", "stopped": "1"},
        **{"diverged": "0", "failed": "0", "best w1 (95%)": "0.5 +- 0.098", "median w1": "0.7"},
        "ms/step": "7.5",
    }
    assert clip == {
        **{"constraint": "clip", "trials": "5", "completed": "1", "stopped": "1"},
        **{"diverged": "1", "failed": "1", "best w1 (95%)": "2 +- 0.098", "median w1": "2"},
        "ms/step": "20",
    }


def test_below_counts_what_ended_there_and_neither_broken_nor_running_trials(run_dir: Path) -> None:
    """Of 4 penalised trials 3 are below 1; of the 4 clipped that ended, the stopped one."""
    penalty, clip = compared(run_dir, "constraint", below=1.0)
    assert (penalty["below 1"], penalty["share (95%)"]) == ("3", "75% (30% to 95%)")
    assert (clip["below 1"], clip["share (95%)"]) == ("1", "25% (5% to 70%)")


def test_within_counts_what_comes_so_near_to_the_best_of_the_whole_search(run_dir: Path) -> None:
    """The best is 0.5, of a penalised trial; the clipped one that diverged at 0.2 is not."""
    penalty, clip = compared(run_dir, "constraint", within=1.5)
    assert (penalty["within 1.5x"], penalty["share (95%)"]) == ("2", "50% (15% to 85%)")
    assert (clip["within 1.5x"], clip["share (95%)"]) == ("1", "25% (5% to 70%)")
    (alone,) = compared(run_dir, within=1)
    assert alone["within 1x"] == "2", "the best itself, and one that was stopped below it"


@pytest.mark.parametrize(
    ("row", "actual"),
    [("completed,9,-0.01,", "-0.01"), ("completed,9,0,", "0"), ("stopped,9,1.5,", "no completed")],
)
def test_within_needs_a_best_w1_of_which_a_multiple_is_farther(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, actual: str
) -> None:
    (tmp_path / "trials.csv").write_text(f"{HEADING},loss\n0,{row},minimax\n")
    assert compare.main([str(tmp_path), "--within", "1.5"]) == ExitStatus.BAD_INPUT
    err = capsys.readouterr().err
    assert f"--within: needs a best w1 above 0, got {actual}" in err
    assert "--below" in err


@pytest.mark.parametrize("factor", ["0.9", "nan", "inf", "x"])
def test_a_factor_below_1_is_refused(factor: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        compare.main(["run", "--within", factor])
    assert "--within" in capsys.readouterr().err


def test_a_table_of_an_earlier_version_has_neither_errors_nor_speeds(tmp_path: Path) -> None:
    rows = "0,completed,9,1.5,,minimax\n1,running,0,,,minimax\n"
    (tmp_path / "trials.csv").write_text(f"{HEADING},loss\n{rows}")
    (group,) = compared(tmp_path, "loss")
    assert (group["best w1 (95%)"], group["ms/step"]) == ("1.5", "-")


def test_the_largest_share_comes_first_and_without_a_bound_the_lowest_median(run_dir: Path) -> None:
    assert [g["constraint"] for g in compared(run_dir, "constraint", below=0.2)] == [
        "clip",
        "gradient_penalty",
    ]
    assert [g["median w1"] for g in compared(run_dir, "clip_value")] == ["0.7", "2", "-"]


def test_the_groups_part_the_trials_whatever_they_are_compared_by(run_dir: Path) -> None:
    """Each trial is in one group; without a key all are in one; a value may not apply."""
    for by in ((), ("constraint",), ("clip_value",), ("constraint", "clip_value")):
        groups = compared(run_dir, *by)
        assert sum(int(group["trials"]) for group in groups) == len(TRIALS)
        assert len({tuple(group[key] for key in by) for group in groups}) == len(groups)
    assert {g["clip_value"] for g in compared(run_dir, "clip_value")} == {"-", "0.01", "0.1"}


@pytest.mark.parametrize(
    ("successes", "num_trials", "interval"),
    [
        (81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)), (20, 20, (0.8389, 1.0)), (0, 0, (0.0, 1.0)),
    ],
)  # fmt: skip
def test_the_interval_is_the_published_one(
    successes: int, num_trials: int, interval: tuple[float, float]
) -> None:
    """Newcombe 1998, Table I, method 3; its mirror image; and no trial, which says nothing."""
    assert compare.wilson_interval(successes, num_trials) == pytest.approx(interval, abs=5e-5)


def test_the_command_says_which_rung_and_draws_every_column(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by = ["--by", "constraint", "--by", "clip_value"]
    assert compare.main([str(run_dir), *by, "--below", "1"]) == ExitStatus.DONE
    out, err = capsys.readouterr()
    first, note, head, *rows = out.splitlines()
    assert (err, len(rows)) == ("", 3)
    assert first == f"{run_dir}: 9 trials; w1 of the completed ones, at generator step 400"
    assert "stopped" in note
    assert "".join(head.split()) == "".join(
        "".join(compare.headings(["constraint", "clip_value"], compare.Bound(1.0))).split()
    )


def test_where_none_has_completed_no_w1_is_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trials.csv").write_text(f"{HEADING},loss\n0,stopped,9,1.5,,minimax\n")
    assert compare.main([str(tmp_path), "--by", "loss"]) == ExitStatus.DONE
    first, _, row = capsys.readouterr().out.splitlines()
    assert first.endswith("1 trials; w1 of the completed ones, of which there are none")
    assert row.split() == ["minimax", "1", "0", "1", "0", "0", "-", "-", "-"]


def test_a_wrong_key_is_answered_with_the_right_one_and_all_others(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by = ["--by", "constrain", "--by", "w1"]
    assert compare.main([str(run_dir), *by]) == ExitStatus.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"{run_dir / 'trials.csv'}: 2 faults\n"
        "  --by: no such hyperparameter as constrain, did you mean constraint? "
        "it has constraint, clip_value\n"
        "  --by: no such hyperparameter as w1: it has constraint, clip_value\n"
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "it has no column trial_id, status"),
        (HEADING.encode(), "it has no trials"),
        (b"trial_id,status,generator_steps,w1\n", "it has no column w1_final"),
        (HEADING.encode() + b"\n0,stopped,9,low,\n", "could not convert string to float"),
        (HEADING.encode() + b"\n0,stopped,9,\xff,\n", "can't decode byte 0xff"),
    ],
)
def test_what_is_no_table_of_trials_is_refused_in_one_message(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "trials.csv").write_bytes(content)
    with pytest.raises(BadInput, match=rf"cannot be read \(.*{why}.*\): give the folder of a sea"):
        compare.read(tmp_path)


def test_a_script_gets_the_same_groups_as_numbers(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--by", "constraint", "--by", "clip_value", "--below", "0.6", "--json"]
    assert compare.main([str(run_dir), *arguments]) == ExitStatus.DONE
    groups = json.loads(capsys.readouterr().out)
    told = {(group["constraint"], group["clip_value"]): group for group in groups}
    assert told.keys() == {("gradient_penalty", None), ("clip", 0.01), ("clip", 0.1)}
    penalty = told["gradient_penalty", None]
    assert (penalty["trials"], penalty["best_w1"], penalty["median_w1"]) == (4, 0.5, 0.7)
    assert (penalty["num_good"], penalty["share"]) == (1, 0.25)
    assert (penalty["bound"], penalty["ms_per_step"]) == (0.6, 7.5)
    assert penalty["best_w1_error"] == pytest.approx(1.96 * 0.05)
    assert told["clip", 0.1]["best_w1"] is None


def searched(folder: Path, spec: SearchSpec, lines: str, data: str | None = None) -> str:
    """Write what the command reads of a search; returns its folder."""
    folder.mkdir(parents=True)
    (folder / "spec.yaml").write_text(spec.to_yaml())
    (folder / "study.log").touch()
    (folder / "trials.csv").write_text(lines)
    if data is not None:
        (folder / "provenance.json").write_text(json.dumps([{"data": data}, {"host": "other"}]))
    return str(folder)


def test_several_searches_of_uneven_columns_are_told_apart(
    tmp_path: Path, make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best of all searches is the one that --within counts by."""
    one = f"{HEADING},clip_value\n0,completed,4000,2.0,,0.1\n1,completed,4000,1.0,,0.01\n"
    other = f"{HEADING},gp_weight\n0,completed,4000,1.4,,10\n1,stopped,250,9.0,,10\n"
    runs = [
        searched(tmp_path / "zeta", make_spec(name="zeta"), one),
        searched(tmp_path / "alpha", make_spec(name="alpha"), other),
    ]
    arguments = [*runs, "--by", "clip_value", "--within", "1.5", "--json"]
    assert compare.main(arguments) == ExitStatus.DONE
    groups = json.loads(capsys.readouterr().out)
    assert [(g["search"], g["clip_value"], g["best_w1"], g["num_good"]) for g in groups] == [
        ("zeta", 0.01, 1.0, 1),
        ("alpha", None, 1.4, 1),
        ("zeta", 0.1, 2.0, 0),
    ]
    assert compare.main(runs) == ExitStatus.DONE
    heading, *lines = capsys.readouterr().out.splitlines()[1:]
    assert heading.split()[:2] == ["search", "trials"]
    assert {line.split()[0] for line in lines} == {"zeta", "alpha"}
    assert compare.main([*runs, "--by", "n_critic"]) == ExitStatus.BAD_INPUT
    assert "it has clip_value, gp_weight" in capsys.readouterr().err


def test_searches_of_equal_names_are_told_apart_by_their_folders(
    tmp_path: Path, make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    table = f"{HEADING}\n0,completed,4000,2.0,\n"
    runs = [searched(tmp_path / part / "gp", make_spec(name="gp"), table) for part in ("a", "b")]
    assert compare.main([*runs, "--json"]) == ExitStatus.DONE
    assert {group["search"] for group in json.loads(capsys.readouterr().out)} == set(runs)


@pytest.mark.parametrize(
    ("sections", "data", "why"),
    [
        (
            {"objective": {"ground": "pixels"}},
            "a1",
            "objective.ground: is pixels here and energies",
        ),
        ({"objective": {"critic_steps": 50}}, "a1", "objective.critic_steps: is 50 here and 200"),
        ({"objective": {"scaled_critic_lr": False}}, "a1", "scaled_critic_lr: is False here and"),
        (
            {"asha": {"max_generator_steps": 8000}},
            "a1",
            "asha: is 8000 generator steps to the last",
        ),
        ({}, "b2", "data: is b2 here and a1"),
    ],
)
def test_searches_whose_w1_does_not_compare_are_refused_with_what_differs(
    sections, data: str, why: str, tmp_path: Path, make_spec: MakeSpec,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    table = f"{HEADING}\n0,completed,4000,2.0,\n"
    runs = [
        searched(tmp_path / "one", make_spec(name="one"), table, "a1"),
        searched(tmp_path / "other", make_spec(name="other", **sections), table, data),
    ]
    assert compare.main(runs) == ExitStatus.BAD_INPUT
    assert why in (said := capsys.readouterr().err)
    assert "w1 does not compare between these searches" in said
    assert compare.main([runs[0], runs[0]]) == ExitStatus.DONE
