"""The waits in a search, from the times of its reports."""

from benchmarks.speed.overhead import report_waits, start_waits


def test_each_end_is_followed_by_one_start() -> None:
    starts = {0: 0.0, 1: 0.5, 2: 10.2, 3: 11.1}
    ends = {0: 10.0, 1: 11.0, 2: 20.0, 3: 21.0}
    assert [round(wait, 3) for wait in start_waits(starts, ends)] == [0.2, 0.1]


def test_the_wait_of_a_report_is_the_time_without_training_or_scoring() -> None:
    def report(time_s: float, training_s: float, scoring_s: float) -> dict[str, float]:
        return {
            "unix_time_s": time_s, "training_seconds": training_s, "scoring_seconds": scoring_s
        }  # fmt: skip

    reports = {7: {50: report(100, 5, 0), 150: report(110.5, 15, 0), 200: report(113.53, 16, 2)}}
    by_kind = report_waits(reports, saves_at=lambda steps: steps == 150)
    assert {name: [round(wait, 3) for wait in waits] for name, waits in by_kind.items()} == {
        "a report": [0.5],
        "a report with a checkpoint": [0.03],
    }
