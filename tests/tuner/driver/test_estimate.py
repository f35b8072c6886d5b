"""The estimate of a search's time."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tuner.driver import estimate, preflight
from tuner.space import Choice, Range, SearchSpec

MakeSpec = Callable[..., SearchSpec]


@pytest.mark.parametrize(
    ("rungs", "factor", "steps"),
    [((100, 200), 1, 200), ((100, 400), 4, 175), ((10, 30, 90), 3, 10 + 20 / 3 + 60 / 9)],
)
def test_each_rung_lets_one_in_so_many_continue(
    rungs: tuple[int, ...], factor: int, steps: float
) -> None:
    assert estimate.expected_steps(rungs, factor) == pytest.approx(steps)


@pytest.mark.parametrize(
    ("domain", "middle"),
    [
        (Range[int](low=1, high=5), 3),
        (Range[float](low=0.0, high=0.9), 0.45),
        (Range[float](low=1e-4, high=1e-2, log=True), pytest.approx(1e-3)),
        (Choice[int](choice=(64, 128, 256)), 128),
    ],
)
def test_the_middle_of_a_domain(domain: Any, middle: Any) -> None:
    assert estimate._middle("", domain) == middle


@pytest.mark.parametrize(
    ("key", "domain", "ends"),
    [
        ("networks.critic_width", Range[int](low=32, high=512, log=True), (32, 512)),
        ("training.batch_size", Choice[int](choice=(256, 64, 128)), (64, 256)),
        ("networks.latent_dim", Range[int](low=1, high=5), (3, 3)),
        ("training.beta2", Choice[float](choice=(0.9, 0.999)), (0.999, 0.999)),
    ],
)
def test_the_ends_of_a_domain_are_of_what_costs(key: str, domain: Any, ends: Any) -> None:
    assert (estimate._smallest(key, domain), estimate._largest(key, domain)) == ends


@pytest.fixture
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "num_cpus", lambda: 2)
    monkeypatch.setattr(preflight, "num_gpus", lambda: 0)
    monkeypatch.setattr(estimate, "_step_seconds", lambda *_: 0.5)


def text(spec: SearchSpec) -> str:
    data: Any = SimpleNamespace()
    return estimate.estimate_text(spec, data)


@pytest.mark.usefixtures("_machine")
def test_trials_share_the_machine_and_the_budget_ends_the_search(make_spec: MakeSpec) -> None:
    asha = {"grace_generator_steps": 100, "max_generator_steps": 400, "reduction_factor": 4}
    search = {"num_trials": 48, "sampler": "random"}
    assert text(make_spec(asha=asha, search=search)).startswith(
        "time: roughly 35 minutes of training if each rung stops all but 1/4 of the trials, 80 "
        "minutes if none is stopped, with 2 trials at once on this machine at 0.5 s per "
    )  # 48 x 175 x 0.5 / 2 s
    spec = make_spec(asha=asha, search=search | {"time_budget_s": 600})
    assert text(spec).endswith("; it ends after 10 minutes, the time budget")
    spec = make_spec(asha=asha, search={"time_budget_s": 600, "sampler": "random"})
    assert text(spec) == "time: 10 minutes, the time budget, and the final after it"
    spec = make_spec(asha=asha, search={"generator_steps": 14_400, "sampler": "random"})
    assert text(spec) == (
        "time: about 60 minutes, the budget of 14,400 generator steps, and the final after it"
    )


@pytest.mark.usefixtures("_machine")
@pytest.mark.parametrize(
    ("search", "warning"),
    [
        # 125 steps a trial, of 0.25 s each as two trials run at a time, or of 0.5 s on a GPU.
        ({"num_trials": 16}, None),
        ({"num_trials": 15}, "search.num_trials gives 15 trials"),
        ({"time_budget_s": 501}, None),
        ({"time_budget_s": 499}, "the time budget buys roughly 15 trials"),
        ({"num_trials": 15, "time_budget_s": 40}, "the time budget buys roughly 1 trial"),
        ({"generator_steps": 2000}, None),
        ({"generator_steps": 1999}, "the budget of 1,999 generator steps buys roughly 15 trials"),
        ({"gpu_hours": 0.28}, None),
        ({"gpu_hours": 0.27}, "the budget of 0.27 GPU-hours buys roughly 15 trials"),
    ],
)
def test_a_budget_below_one_full_bracket_is_warned_of(
    make_spec: MakeSpec, search: dict[str, Any], warning: str | None
) -> None:
    asha = {"grace_generator_steps": 50, "max_generator_steps": 800, "reduction_factor": 4}
    search = {"sampler": "random", **search}
    found = text(make_spec(asha=asha, search=search, resources={"gpus_per_trial": "auto"}))
    if warning is None:
        assert "warning" not in found
        return
    (key,) = [key for key in search if key in found.rpartition("Raise search.")[2]]
    assert found.splitlines()[-1] == (
        f"warning: {warning}, fewer than the 16 of one full bracket, of which ASHA lets one reach "
        "the last rung by its scores: early trials continue for lack of others to compare with. "
        f"Raise search.{key}, raise asha.grace_generator_steps, or lower asha.max_generator_steps"
    )


@pytest.mark.usefixtures("_machine")
def test_further_seeds_are_whole_trainings(make_spec: MakeSpec) -> None:
    asha = {"grace_generator_steps": 100, "max_generator_steps": 400, "reduction_factor": 1}
    spec = make_spec(asha=asha, objective={"final_trials": 2, "final_seeds": 4})
    seeds = "further seeds: the final trains up to 6 more times to the last rung: 10 minutes"
    assert text(spec).splitlines()[-1] == seeds  # 6 x 400 x 0.5 / 2 s


@pytest.mark.usefixtures("_machine")
def test_a_network_that_fails_in_training_is_said(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> float:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(estimate, "_step_seconds", fails)
    assert "time: not known, as a trial failed in training: RuntimeError: out of memory" in text(
        make_spec()
    )


@pytest.mark.usefixtures("_machine")
def test_the_smallest_and_the_largest_trials_are_timed(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(spec: SearchSpec, _: Any, pick: Any) -> float:
        networks = spec.choose(pick)["networks"]
        return (networks["critic_width"] + 10 * networks["generator_width"]) / 1000

    monkeypatch.setattr(estimate, "_step_seconds", seconds)
    spec = make_spec(
        networks={"critic_width": {"low": 2, "high": 8}, "generator_width": {"choice": [32, 3]}}
    )
    assert "2 trials at once on this machine at 0.035 s per generator step" in text(spec)
    ends = "a step takes 0.032 s with the smallest networks and batches, 0.33 s with the largest"
    assert text(spec).splitlines()[0].endswith(ends)


@pytest.mark.usefixtures("_machine")
def test_a_largest_trial_that_fails_is_warned_of(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seconds(spec: SearchSpec, _: Any, pick: Any) -> float:
        if spec.choose(pick)["networks"]["critic_width"] > 5:
            raise RuntimeError("out of memory")
        return 0.5

    monkeypatch.setattr(estimate, "_step_seconds", seconds)
    spec = make_spec(networks={"critic_width": {"low": 2, "high": 8}})
    warning = "largest networks and batches failed in training (RuntimeError: out of memory)"
    assert warning in text(spec)
    assert "at 0.5 s per generator step" in text(spec)
