"""The next search space: known answers, and laws on random trials of every shipped space."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuner.space.domains import Choice, Domain, Range, coerce, is_integer
from tuner.space.narrowing import Change, narrow
from tuner.space.spec import SearchSpec, read_spec, validate

MakeSpec = Callable[..., SearchSpec]
ROOT = Path(__file__).parents[3]
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


def narrowed(make_spec: MakeSpec, key: str, domain: Any, *values: Any) -> Change:
    """What becomes of one searched key, of the best trial's value first."""
    section, field = key.split(".")
    spec = make_spec(**{"training": {}, section: {field: domain}})
    document, (change,) = narrow(spec, [{key: value} for value in values])
    assert validate(document)[1] == []
    return change


def ends(change: Change) -> tuple[float, float]:
    assert isinstance(change.after, Range)
    return change.after.low, change.after.high


def test_a_log_range_is_narrowed_in_its_logarithm(make_spec: MakeSpec) -> None:
    """Four orders of magnitude: a tenth of them on each side is 0.4 of one."""
    domain = {"low": 1e-5, "high": 0.1, "log": True}
    change = narrowed(make_spec, "training.critic_lr", domain, 1e-3, 3e-3, 5e-4)
    assert ends(change) == (1.9e-4, 7.6e-3)  # 5e-4 / 10**0.4 = 1.99e-4, 3e-3 * 10**0.4 = 7.54e-3
    assert change.after.log
    assert change.note == ""


def test_a_range_is_narrowed_by_shares_of_its_width(make_spec: MakeSpec) -> None:
    change = narrowed(make_spec, "training.beta1", {"low": 0.0, "high": 0.8}, 0.4, 0.3, 0.45)
    assert ends(change) == (pytest.approx(0.22), pytest.approx(0.53))


def test_one_value_leaves_a_quarter_of_the_range(make_spec: MakeSpec) -> None:
    change = narrowed(make_spec, "training.beta1", {"low": 0.0, "high": 0.8}, 0.4)
    assert ends(change) == (pytest.approx(0.3), pytest.approx(0.5))
    change = narrowed(make_spec, "training.beta1", {"low": 0.0, "high": 0.8}, 0.0)
    assert ends(change) == (0.0, pytest.approx(0.2))  # all of it on the side that there is


def test_whole_numbers_stay_whole(make_spec: MakeSpec) -> None:
    change = narrowed(make_spec, "training.n_critic", {"low": 1, "high": 9}, 4, 6)
    assert ends(change) == (3, 7)
    assert all(type(end) is int for end in ends(change))
    change = narrowed(make_spec, "networks.latent_dim", {"low": 8, "high": 512, "log": True}, 64)
    low, high = ends(change)
    assert (type(low), type(high)) == (int, int)
    assert 30 <= low < 64 < high <= 140


@pytest.mark.parametrize(
    ("key", "domain", "best", "expected"),
    [
        ("training.n_critic", {"low": 1, "high": 5}, 5, (4, 6)),
        ("training.critic_lr", {"low": 1e-4, "high": 1.0, "log": True}, 0.9, (0.1, 10.0)),
        ("training.critic_lr", {"low": 1e-4, "high": 1.0, "log": True}, 1e-4, (1e-5, 1e-3)),
        ("training.gp_weight", {"low": 1.0, "high": 9.0}, 1.2, (0.5, 3.0)),  # it must be above 0
    ],
)
def test_a_range_whose_best_value_is_at_an_end_goes_past_it(
    make_spec: MakeSpec, key: str, domain: Any, best: float, expected: tuple[float, float]
) -> None:
    """By a quarter of its width, or half of the way to a bound."""
    change = narrowed(make_spec, key, domain, best)
    assert ends(change) == pytest.approx(expected, rel=0.03)
    assert change.note.startswith(f"widened: {best:.4g} of the best is at the ")


def test_the_best_trial_decides_whether_a_range_is_widened(make_spec: MakeSpec) -> None:
    domain = {"low": 1, "high": 5}
    assert ends(narrowed(make_spec, "training.n_critic", domain, 3, 5, 5)) == (2, 5)


@pytest.mark.parametrize(
    ("key", "domain", "best"),
    [
        ("training.n_critic", {"low": 1, "high": 5}, 1),
        ("training.beta1", {"low": 0.0, "high": 0.99}, 0.99),
        ("training.div_power", {"low": 2.0, "high": 12.0}, 12.0),
    ],
)
def test_a_range_ends_where_its_key_does(
    make_spec: MakeSpec, key: str, domain: Any, best: float
) -> None:
    field = key.split(".")[1]
    others = {"loss": "wgan_div"} if field == "div_power" else {}
    spec = make_spec(training={**others, field: domain})
    _, (change,) = narrow(spec, [{key: best}])
    assert not change.note
    assert best in ends(change)


def test_what_the_data_limit_is_named_and_not_widened(make_spec: MakeSpec) -> None:
    change = narrowed(make_spec, "training.batch_size", {"low": 16, "high": 64}, 64)
    assert ends(change)[1] == 64
    assert change.note == "64 of the best is at the upper end: widen it if your data and code allow"


def test_an_argument_of_a_network_of_the_user_s_is_narrowed_and_not_widened(
    make_spec: MakeSpec,
) -> None:
    arguments = {"width": {"low": 8, "high": 64}, "kind": {"choice": ["a", "b"]}}
    spec = make_spec(training={}, networks={"generator": "my:G", "generator_args": arguments})
    values = {"networks.generator_args.width": 64, "networks.generator_args.kind": "b"}
    document, changes = narrow(spec, [values])
    assert document["networks"]["generator_args"] == {"width": {"low": 50, "high": 64}, "kind": "b"}
    assert document["initial_points"] == [{"networks": {"generator_args": {"width": 64}}}]
    assert changes[0].note.endswith("widen it if your data and code allow")


def test_a_choice_keeps_what_the_best_trials_have_in_its_own_order(make_spec: MakeSpec) -> None:
    domain = {"choice": [64, 128, 256]}
    change = narrowed(make_spec, "networks.generator_width", domain, 256, 64, 256)
    assert change.after == Choice(choice=(64, 256))
    change = narrowed(make_spec, "networks.generator_width", domain, 256, 256)
    assert change.after == 256
    assert change.note == "the only one of the best trials"


CONSTRAINTS = {
    "constraint": {"choice": ["gradient_penalty", "clip"]},
    "gp_weight": {"low": 0.1, "high": 100, "log": True},
    "clip_value": {"low": 1e-3, "high": 1, "log": True},
    "n_critic": 5, "optimizer": "adam", "critic_lr": 1e-4, "generator_lr": 1e-4,
}  # fmt: skip


def test_a_key_that_applies_to_no_trial_any_more_is_left_out(make_spec: MakeSpec) -> None:
    penalty = {"training.constraint": "gradient_penalty", "training.gp_weight": 10.0}
    document, changes = narrow(make_spec(training=CONSTRAINTS), [penalty, penalty])
    after = {change.key: change.after for change in changes}
    assert after["training.constraint"] == "gradient_penalty"
    assert after["training.clip_value"] is None
    assert "clip_value" not in document["training"]
    assert document["initial_points"] == [{"training": {"gp_weight": 10.0}}]
    assert validate(document)[1] == []


def test_a_key_keeps_to_the_trials_that_have_it(make_spec: MakeSpec) -> None:
    best = [
        {"training.constraint": "clip", "training.clip_value": 0.01},
        {"training.constraint": "gradient_penalty", "training.gp_weight": 50.0},
        {"training.constraint": "clip", "training.clip_value": 0.02},
    ]
    document, changes = narrow(make_spec(training=CONSTRAINTS), best)
    after = {change.key: change.after for change in changes}
    assert after["training.gp_weight"].low > 10
    assert after["training.clip_value"].low < 0.01 < 0.02 < after["training.clip_value"].high < 0.1
    (point,) = document["initial_points"]
    assert point == {"training": {"constraint": "clip", "clip_value": 0.01}}


def test_a_grid_has_no_initial_point(make_spec: MakeSpec) -> None:
    grid = {"training": {"n_critic": {"low": 1, "high": 5}}, "search": {"sampler": "grid"}}
    document, _ = narrow(make_spec(**grid), [{"training.n_critic": 2}])
    assert document["initial_points"] == []
    assert validate(document)[1] == []


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_the_next_space_of_any_search_is_valid_and_holds_its_best_trials(path: Path) -> None:
    """Within the old one, but where it says that it is widened."""
    spec, rng = read_spec(path), random.Random(0)
    for num_best in (1, 1, 2, 5, 12):
        best: list[dict[str, Any]] = []
        for _ in range(num_best):
            values: dict[str, Any] = {}
            config = spec.choose(lambda key, d, v=values: v.setdefault(key, drawn(d, rng)))
            spec.trial_config(config, seed=0)
            best.append(values)
        document, changes = narrow(spec, best)
        checked, faults = validate(document)
        assert checked is not None, faults
        for change in changes:
            domain = checked.domains.get(change.key)
            for value in (values[change.key] for values in best if change.key in values):
                assert change.after is not None
                if domain is None:
                    assert change.after == value
                else:
                    assert coerce(domain, value) is not None
            is_widened = change.note.startswith("widened")
            assert is_widened == (not is_within(change.after, change.before))
        assert len(checked.first_points) == 1
        assert checked.first_points[0].items() <= best[0].items()


def drawn(domain: Domain, rng: random.Random) -> Any:
    """A value, often one of the ends."""
    if isinstance(domain, Choice):
        return rng.choice(domain.choice)
    if rng.random() < 0.2:
        return rng.choice([domain.low, domain.high])
    value = domain.low * (domain.high / domain.low) ** rng.random() if domain.log else None
    value = rng.uniform(domain.low, domain.high) if value is None else value
    return round(value) if is_integer(domain) else min(max(value, domain.low), domain.high)


def is_within(after: Any, before: Domain) -> bool:
    if isinstance(after, Range):
        return isinstance(before, Range) and before.low <= after.low < after.high <= before.high
    if isinstance(after, Choice):
        return isinstance(before, Choice) and set(after.labels) <= set(before.labels)
    return after is None or coerce(before, after) is not None
