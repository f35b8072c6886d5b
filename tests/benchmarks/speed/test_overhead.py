"""What a search waits for, told from when its reports were heard."""

from benchmarks.speed.overhead import around_reports, between


def test_each_end_is_followed_by_one_start() -> None:
    starts = {0: 0.0, 1: 0.5, 2: 10.2, 3: 11.1}
    ends = {0: 10.0, 1: 11.0, 2: 20.0, 3: 21.0}
    assert [round(wait, 3) for wait in between(starts, ends)] == [0.2, 0.1]


def test_what_passes_between_reports_is_what_was_neither_trained_nor_scored() -> None:
    def report(at: float, trained: float, scored: float) -> dict[str, float]:
        return {"unix_time_s": at, "training_seconds": trained, "scoring_seconds": scored}

    reports = {7: {50: report(100, 5, 0), 150: report(110.5, 15, 0), 200: report(113.53, 16, 2)}}
    found = around_reports(reports, saves_at=lambda steps: steps == 150)
    assert {name: [round(wait, 3) for wait in waits] for name, waits in found.items()} == {
        "a report": [0.5],
        "a report with a checkpoint": [0.03],
    }
