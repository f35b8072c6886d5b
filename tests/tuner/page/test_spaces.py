"""The figures of a search space, for made-up searches whose scores are known."""

from collections.abc import Callable

from made_search import facts, of_every_end, trial

from tuner.page.spaces import parallel, slices
from tuner.space.spec import SearchSpec

MakeSpec = Callable[..., SearchSpec]


def test_a_slice_shows_each_trial_at_one_rung_at_a_time(make_spec: MakeSpec) -> None:
    """Stopped trials are drawn at the first rung, where all trials are comparable."""
    spec = make_spec()
    ((key, made),) = slices(facts(spec, of_every_end(spec)), ["training.critic_lr"])
    assert key == "training.critic_lr"
    shown = {trace.name: dict(zip(trace.text, trace.y, strict=True)) for trace in made.data}
    assert shown == {
        "first rung, all scored": {
            "trial 00000": 3.0, "trial 00001": 4.0, "trial 00002": 2.0, "trial 00003": 5.0,
            "trial 00004": 9.0, "trial 00006": 6.0,
        },
        "completed": {"trial 00000": 1.0, "trial 00001": 0.9, "trial 00002": 1.2},
        "best": {"trial 00000": 1.0},
    }  # fmt: skip


def test_a_slice_has_the_trials_that_have_the_hyperparameter(make_spec: MakeSpec) -> None:
    spec = make_spec(
        training={
            "constraint": {"choice": ["clip", "gradient_penalty"]},
            "clip_value": {"low": 1e-3, "high": 1.0, "log": True},
            "optimizer": "adam", "critic_lr": 1e-4, "generator_lr": 1e-4, "n_critic": 5,
        }
    )  # fmt: skip
    given = [{"training.constraint": kind} for kind in ("clip", "gradient_penalty", "clip")]
    trials = [trial(spec, n, [4.0 + n], values=values) for n, values in enumerate(given)]
    by_key = dict(slices(facts(spec, trials), ["training.constraint", "training.clip_value"]))
    assert by_key["training.constraint"].data[0].x == ("clip", "gradient_penalty", "clip")
    assert by_key["training.clip_value"].data[0].y == (4.0, 6.0)


def test_a_drag_on_any_axis_of_numbers_selects_what_it_covers(make_spec: MakeSpec) -> None:
    """With ticks by hand plotly takes an axis for one of choices, and a drag snaps to them."""
    lr = {"low": 1e-5, "high": 1e-2, "log": True}
    spec = make_spec(
        training={
            "constraint": {"choice": ["clip", "gradient_penalty"]}, "clip_value": {**lr},
            "n_critic": {"low": 1, "high": 5}, "critic_lr": lr, "generator_lr": 1e-4,
            "optimizer": "adam",
        }
    )  # fmt: skip
    kinds = ({"training.constraint": kind} for kind in ("clip", "gradient_penalty"))
    trials = [trial(spec, n, [4.0 + n], values=values) for n, values in enumerate(kinds)]
    figure = parallel(facts(spec, trials), [*spec.domains])
    assert figure is not None
    axes = {axis.label: axis for axis in figure.data[0].dimensions}
    assert [name for name, axis in axes.items() if axis.tickvals] == ["constraint"]
    assert set(axes) == {"place", "constraint", "log10 clip_value", "n_critic", "log10 critic_lr"}
    low, high = axes["log10 clip_value"].range
    # The best is drawn last, above the others.
    with_none = axes["log10 clip_value"]["values"][0]
    assert list(axes["place"]["values"]) == [2, 1]
    assert (with_none, high) == (low, -2.0)
    assert low < -5.0
