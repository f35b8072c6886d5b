"""A search space to frozen data: published defaults, every fault at once, and back to YAML."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainables.config import ObjectiveConfig, TrialConfig
from tuner.errors import BadInput, Fault
from tuner.space.domains import Choice, Range
from tuner.space.spec import (
    SECTION_KEYS,
    AshaConfig,
    SearchSpec,
    largest_budget_generator_steps,
    read_spec,
    validate,
)

MakeSpec = Callable[..., SearchSpec]
FaultsOf = Callable[..., list[Fault]]
SEARCH_SPACES = sorted((Path(__file__).parents[3] / "search_spaces").glob("*.yaml"))
PENALTIES = ("gradient_penalty", "one_sided_penalty")
GANS = ("minimax", "non_saturating")


# --- Defaults ----------------------------------------------------------------------------------


def test_a_section_whose_keys_are_all_commented_out_is_its_defaults(make_spec: MakeSpec):
    assert make_spec(networks=None, asha=None, training=None) == make_spec(training={})


@pytest.mark.parametrize(
    ("written", "overrides", "name", "critic_steps"),
    [
        ("critic_estimate", [], "critic_estimate", 200),
        ("{name: critic_estimate}", [], "critic_estimate", 200),
        ("critic_estimate", ["objective.critic_steps=9"], "critic_estimate", 9),
        ("critic_estimate", ["objective.name=independent_critic"], "independent_critic", 200),
        ("{critic_steps: 9}", ["objective.name=critic_estimate"], "critic_estimate", 9),
        ("{critic_steps: 9}", ["objective=critic_estimate"], "critic_estimate", 200),
    ],
)
def test_an_objective_may_be_its_name_alone(
    space: Callable[[str], Path],
    written: str,
    overrides: list[str],
    name: str,
    critic_steps: int,
):
    found = read_spec(space(f"name: a\nsearch: {{num_trials: 1}}\nobjective: {written}"), overrides)
    assert (found.objective.name, found.objective.critic_steps) == (name, critic_steps)
    assert found.objective.metric == {"independent_critic": "w1"}.get(name, name)


def test_an_objective_that_is_none_is_refused_at_its_name(faults_of: FaultsOf):
    (fault,) = faults_of(objective="critics_estimate")
    assert fault.where == "objective.name"
    assert fault.message == (
        "must be independent_critic or critic_estimate, got 'critics_estimate'; did you mean "
        "critic_estimate?"
    )


# --- Numbers as YAML writes them ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"), [("1e-4", 1e-4), ("1E-4", 1e-4), ("2.5e-3", 2.5e-3), ("5e2", 500.0)]
)
def test_a_number_that_yaml_takes_for_text_is_a_number(
    space: Callable[[str], Path], written: str, read: float
):
    path = space(f"name: a\nsearch: {{num_trials: 1}}\ntraining: {{critic_lr: {written}}}")
    assert read_spec(path).training.critic_lr == read


@pytest.mark.parametrize("written", ["1e3", '"1e3"', "1000.0", "1.0e3", "1_000"])
def test_a_whole_number_may_be_written_in_any_way(space: Callable[[str], Path], written: str):
    path = space(f"name: a\nsearch: {{num_trials: {written}}}")
    num_trials = read_spec(path).search.num_trials
    assert num_trials == 1000
    assert type(num_trials) is int


def test_text_in_quotes_stays_text_for_a_network(space: Callable[[str], Path]):
    args = "{tag: '007', version: \"1.10\", rate: 1e-4, width: 1e3, sizes: {choice: ['18', '34']}}"
    path = space(
        "name: a\nsearch: {num_trials: 1}\nnetworks: {generator: 'nets:G', generator_args: "
        f"{args}}}"
    )
    found = read_spec(path)
    read = found.networks.generator_args
    assert (read["tag"], read["version"], read["rate"]) == ("007", "1.10", 1e-4)
    assert (read["width"], type(read["width"])) == (1000, int)
    assert read["sizes"].choice == ("18", "34")
    again = space(found.to_yaml())
    assert read_spec(again) == found


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ({"training": {"critic_lr": True}}, "must be a number, got True"),
        ({"training": {"critic_lr": "fast"}}, "must be a number, got 'fast'"),
        ({"training": {"critic_lr": None}}, "must be a number, got None"),
        ({"training": {"critic_lr": math.nan}}, "must be a finite number, got nan"),
        ({"training": {"critic_lr": math.inf}}, "must be a finite number, got inf"),
        ({"training": {"critic_lr": "1e400"}}, "must be a finite number, got inf"),
        ({"training": {"n_critic": True}}, "must be a whole number, got True"),
        ({"training": {"n_critic": 1.5}}, "must be a whole number, got 1.5"),
        ({"training": {"n_critic": "1.5"}}, "must be a whole number, got '1.5'"),
        ({"training": {"n_critic": math.nan}}, "must be a whole number, got nan"),
        ({"training": {"n_critic": math.inf}}, "must be a whole number, got inf"),
        ({"training": {"n_critic": "1e400"}}, "must be a whole number, got '1e400'"),
    ],
)
def test_what_is_no_number_is_refused(faults_of: FaultsOf, section: dict, what: str):
    (key,) = section["training"]
    assert faults_of(**section) == [Fault(f"training.{key}", what)]


# --- Faults ------------------------------------------------------------------------------------

NO_ORDER = "has no order to take a range from: list values with choice, got "
RANGE_OF_2_AND_1 = (
    "low must be below high, got low 2 and high 1: swap or change them, or give one fixed value"
)
FAULTY = [
    ({"trainin": {}}, "trainin", "no such key; did you mean training?"),
    ({"critic_lr": 1}, "critic_lr", "no such key; did you mean training.critic_lr?"),
    (
        {"training": {"latent_dim": 1}},
        "training.latent_dim",
        "no such key; did you mean networks.latent_dim?",
    ),
    ({"training": {"critc_lr": 1}}, "training.critc_lr", "no such key; did you mean critic_lr?"),
    ({"name": None}, "name", "is required: it names the search's folder"),
    ({"name": 3}, "name", "must be text, got 3"),
    ({"training": 3}, "training", "must be a mapping of keys to values, got 3"),
    ({"training": [1]}, "training", "must be a mapping of keys to values, got [1]"),
    ({"data": {"dataset": "digit"}}, "data.dataset", "must be digits, eight_gaussians, "),
    ({"data": {"dataset": "digit"}}, "data.dataset", "got 'digit'; did you mean digits?"),
    ({"data": {"dataset": {"choice": ["digits"]}}}, "data.dataset", "must be digits, eight_"),
    ({"objective": {"critic_steps": {"low": 1, "high": 2}}}, "objective.critic_steps", "must be a"),
    ({"networks": {"latent_dim": 0}}, "networks.latent_dim", "must be at least 1, got 0"),
    ({"networks": {"critic_depth": 33}}, "networks.critic_depth", "must be at most 32, got 33"),
    ({"training": {"beta1": 1}}, "training.beta1", "must be below 1, got 1"),
    ({"training": {"critic_lr": 0}}, "training.critic_lr", "must be above 0, got 0"),
    (
        {"networks": {"latent_dim": {"low": 2, "high": 1}}},
        "networks.latent_dim",
        RANGE_OF_2_AND_1,
    ),
    (
        {"training": {"beta1": {"low": 0, "high": 0.9, "log": True}}},
        "training.beta1",
        "low must be above 0 on a log scale, got 0.0: give a small positive low, or leave log out",
    ),
    (
        {"networks": {"latent_dim": {"choice": []}}},
        "networks.latent_dim.choice",
        "must list at least one value, got []",
    ),
    (
        {"networks": {"latent_dim": {"choice": [8, "8"]}}},
        "networks.latent_dim.choice",
        "must list each value once, got [8, 8]",
    ),
    (
        {"networks": {"latent_dim": {"choice": 8}}},
        "networks.latent_dim.choice",
        "must be a list, got 8",
    ),
    (
        {"networks": {"latent_dim": {"choice": [8, 0]}}},
        "networks.latent_dim.choice.1",
        "must be at least 1, got 0",
    ),
    ({"networks": {"latent_dim": {"low": 8}}}, "networks.latent_dim.high", "is required: give it"),
    (
        {"networks": {"latent_dim": {"low": 1, "high": 2, "step": 1}}},
        "networks.latent_dim.step",
        "no such key; known here: low, high, log, choice",
    ),
    (
        {"networks": {"latent_dim": {"choice": [1], "high": 2}}},
        "networks.latent_dim.high",
        "cannot be combined with choice: give either a range or a choice",
    ),
    (
        {"networks": {"latent_dim": {"low": 1, "high": 2, "log": 1}}},
        "networks.latent_dim.log",
        "must be true or false, got 1",
    ),
    ({"training": {"constraint": {"low": 1, "high": 2}}}, "training.constraint", NO_ORDER),
    (
        {"training": {"constraint": {"choice": ["clip", "clop"]}}},
        "training.constraint.choice.1",
        "must be gradient_penalty, one_sided_penalty, clip, spectral_norm or orthogonal, got "
        "'clop'; did you mean clip?",
    ),
    (
        {"asha": {"grace_generator_steps": 50, "max_generator_steps": 50}},
        "asha",
        "grace_generator_steps must be below max_generator_steps, else there is no rung at which "
        "to stop a trial, got 50 and 50: lower the first or raise the second",
    ),
    (
        {"asha": {"brackets": 3}},
        "asha",
        "brackets must be at most 2, the number of rungs before the last, got 3: lower it, or "
        "lower grace_generator_steps",
    ),
    ({"asha": {"reduction_factor": 0}}, "asha.reduction_factor", "must be at least 1, got 0"),
    (
        {"resources": {"cpus_per_trial": 1.5}},
        "resources.cpus_per_trial",
        "must be a whole number if above 1, got 1.5: give 2",
    ),
    ({"resources": {"gpus_per_trial": -1}}, "resources.gpus_per_trial", "auto or a number of at"),
    ({"results": {"runs_dir": ""}}, "results.runs_dir", "must not be empty, got ''"),
    (
        {"search": {"num_trials": 1, "sampler": "tpee"}},
        "search.sampler",
        "must be tpe, random, gp or grid, got 'tpee'; did you mean tpe?",
    ),
    (
        {"search": {"num_trials": 1, "sampler": "cmaes"}},
        "search.sampler",
        "must be tpe, random, gp or grid, got 'cmaes'",
    ),
    ({"search": {"num_trials": 0}}, "search.num_trials", "must be at least 1, got 0"),
]


@pytest.mark.parametrize(("section", "where", "what"), FAULTY)
def test_a_fault_is_told_with_its_key_rule_value_and_way_out(
    faults_of: FaultsOf, section: dict, where: str, what: str
):
    (fault,) = faults_of(**section)
    assert fault.where == where
    assert what in fault.message


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".", "..", ".x", "-x", "a b", "a\n", "x" * 101]
)
def test_a_name_that_is_no_plain_folder_name_is_refused(faults_of: FaultsOf, name: str):
    (fault,) = faults_of(name=name)
    assert fault.where == "name"
    assert fault.message.startswith(
        "must be letters, digits, '.', '_' and '-', and start with a let"
    )
    assert "100 characters at most, got '" in fault.message


def test_a_tracking_uri_of_no_kind_that_mlflow_takes_is_refused(faults_of: FaultsOf) -> None:
    (fault,) = faults_of(mlflow={"tracking_uri": "htp://host:5000"})
    assert fault.where == "mlflow.tracking_uri"
    assert fault.message.endswith("MLflow does not know htp:")


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:secret@host",
        "postgresql://me:secret@host/db",
        "http://:secret@host",
        "https://secret@host",
        "https://host/?password=secret",
        "postgresql://host/db?user=me&sslpassword=secret",
        "postgresql://me:sec/ret:secret@host/db",
        "mysql+pymysql://me:$secret-1@host/db",
    ],
)
def test_a_password_in_the_tracking_uri_is_refused_and_not_repeated(faults_of: FaultsOf, uri: str):
    (fault,) = faults_of(mlflow={"tracking_uri": uri})
    assert fault.where == "mlflow.tracking_uri"
    assert "must not hold a password" in fault.message
    assert "MLFLOW_TRACKING_PASSWORD in the environment" in fault.message
    assert "secret" not in fault.message


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000",
        "http://host:5000/a@b?next=a@b",
        "sqlite:////tmp/a:b@c.db",
        "databricks",
        "$MLFLOW_TRACKING_URI",
        "postgresql://me@host/db",
        "postgresql://me:${DB_PASSWORD}@host:5432/db?sslpassword=$SSL",
        "https://$USER:$PASSWORD@host",
    ],
)
def test_a_tracking_uri_without_a_password_is_taken(make_spec: MakeSpec, uri: str):
    assert make_spec(mlflow={"tracking_uri": uri}).mlflow.tracking_uri == uri


def test_all_faults_of_a_file_are_told_at_once(space: Callable[[str], Path]):
    path = space("name: ../x\nnetworks: {latent_dim: 0, latent_dim: 1.5}\ncritic: 1\n")
    with pytest.raises(BadInput, match=r"space\.yaml: 7 faults\n") as refused:
        read_spec(path, ["data.dataset=digit", "nothing"])
    assert [fault.where for fault in refused.value.faults] == [
        "networks.latent_dim", "--set", "critic", "name", "data.dataset", "networks.latent_dim",
        "search",
    ]  # fmt: skip


@pytest.mark.parametrize("key", [1, None, 1.5, True])
def test_a_key_that_is_no_text_is_told(faults_of: FaultsOf, key: object):
    _, faults = validate({"name": "a", "search": {"num_trials": 1}, key: 2})
    assert [fault.where for fault in faults] == [str(key)]
    for section in ("training", "asha"):
        (fault,) = faults_of(**{section: {key: 2}})
        assert fault.where.startswith(f"{section}.")
        assert fault.message == f"keys must be text, got {key!r}"


def test_a_fault_of_the_text_alone_is_enough_to_refuse(space: Callable[[str], Path]):
    path = space("name: a\nname: a\nsearch: {num_trials: 1}\n")
    with pytest.raises(BadInput, match=r"1 fault\n  name: is given twice, on lines 1 and 2"):
        read_spec(path)


def test_set_changes_what_is_read(space: Callable[[str], Path]):
    path = space("name: a\ntraining: {critic_lr: 1}\nsearch: {num_trials: 1}\n")
    read = read_spec(path, ["training.critic_lr={low: 1e-5, high: 1e-2, log: true}", "name=b"])
    assert read.name == "b"
    assert (read.domains["training.critic_lr"].low, read.training.critic_lr.log) == (1e-5, True)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.dates()
listed = st.lists(scalars, max_size=3)
domain_keys = st.sampled_from(["low", "high", "log", "choice", "step", 1])
plain = scalars | listed | st.dictionaries(domain_keys, scalars | listed, max_size=4)
fields = st.sampled_from([1, *(key for keys in SECTION_KEYS.values() for key in keys)])
#: Documents with real keys and anything at all under them.
anything = st.dictionaries(
    st.sampled_from([*SECTION_KEYS, "other", None]),
    plain | st.dictionaries(fields, plain, max_size=6),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(document=anything)
def test_any_plain_data_is_a_search_or_has_faults(document: dict):
    found, faults = validate(document)
    assert (found is None) == bool(faults)
    assert all(fault.message and "pydantic" not in str(fault) for fault in faults)


# --- To YAML and back --------------------------------------------------------------------------


def numbers(values: st.SearchStrategy) -> st.SearchStrategy:
    """A fixed number, a range or a choice."""
    return values | choices(values) | st.lists(values, min_size=2, max_size=2, unique=True).flatmap(
        lambda ends: st.fixed_dictionaries(
            {"low": st.just(min(ends)), "high": st.just(max(ends))},
            optional={"log": st.just(False) if min(ends) <= 0 else st.booleans()},
        )
    )  # fmt: skip


def choices(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries({"choice": st.lists(values, min_size=1, max_size=3, unique=True)})


def possible(value: Any) -> list:
    return value["choice"] if isinstance(value, dict) else [value]


positive = st.floats(1e-9, 1e3)
decay = st.floats(0, 1, exclude_max=True)
whole = st.integers(1, 32)


@st.composite
def trainings(draw: st.DrawFn) -> dict:
    loss = st.sampled_from(["wasserstein", *GANS])
    constraint = st.sampled_from([*PENALTIES, "clip"])
    optimizer = st.sampled_from(["adam", "rmsprop"])
    given = {"loss": draw(loss | choices(loss))}
    losses = possible(given["loss"])
    if "wasserstein" in losses:
        given["constraint"] = draw(constraint | choices(constraint))
    constraints = possible(given["constraint"]) if "wasserstein" in losses else []
    papers = {"clip" if c == "clip" else "penalty" for c in constraints}
    papers |= {"gan" for loss in losses if loss in GANS}
    decided = {"optimizer": optimizer | choices(optimizer), "n_critic": numbers(whole)}
    decided |= dict.fromkeys(("critic_lr", "generator_lr"), numbers(positive))
    for field, values in decided.items():
        if len(papers) > 1 or draw(st.booleans()):
            given[field] = draw(values)
    of_paper = "rmsprop" if papers == {"clip"} else "adam"
    if "adam" in possible(given.get("optimizer", of_paper)):
        for field in ("beta1", "beta2"):
            if len(papers) > 1 or draw(st.booleans()):
                given[field] = draw(numbers(decay))
    applying = {"batch_size": numbers(st.integers(2, 65536))}
    if "penalty" in papers:
        applying["gp_weight"] = numbers(positive)
    if "clip" in papers:
        applying["clip_value"] = numbers(positive)
    if "gan" in papers:
        applying["instance_noise"] = numbers(st.floats(0, 10))
    return given | draw(st.fixed_dictionaries({}, optional=applying))


networks = st.fixed_dictionaries(
    {},
    optional={
        "architecture": st.just("mlp") | st.just({"choice": ["mlp"]}),
        **dict.fromkeys(("latent_dim", "generator_width", "critic_width"), numbers(whole)),
        **dict.fromkeys(("generator_depth", "critic_depth"), numbers(whole)),
    },
)
share = st.floats(0.01, 1) | st.integers(1, 64)
rest = {
    "data": {"dataset": st.sampled_from(["digits", "eight_gaussians"]), "split_seed": whole},
    "objective": {"critic_steps": whole, "seed": whole},
    "asha": {
        "grace_generator_steps": st.integers(1, 3999),
        "reduction_factor": st.integers(2, 1000),
    },
    "resources": {"cpus_per_trial": share, "gpus_per_trial": share, "retries_per_trial": whole},
    "reporting": {"report_every_generator_steps": whole},
    "results": {"runs_dir": st.text(min_size=1)},
    "mlflow": {"tracking_uri": st.just("http://host:5000"), "experiment": st.text(min_size=1)},
}
documents = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True),
        "search": st.fixed_dictionaries(
            {"num_trials": st.integers(1, 1_000_000)},
            optional={
                "time_budget_s": positive,
                "generator_steps": whole,
                "sampler": st.sampled_from(["tpe", "random", "gp"]),
                "seed": st.integers(0, 2**32 - 1),
                "max_concurrent_trials": whole,
            },
        ),
    },
    optional={
        "networks": networks,
        "training": trainings(),
        **{key: st.fixed_dictionaries({}, optional=fields) for key, fields in rest.items()},
    },
)
generous = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@generous
@given(document=documents)
def test_a_resolved_search_reads_back_as_itself(
    document: dict, tmp_path_factory: pytest.TempPathFactory
):
    resolved, faults = validate(document)
    assert faults == []
    assert resolved is not None
    path = tmp_path_factory.getbasetemp() / "resolved.yaml"
    path.write_text(resolved.to_yaml(), encoding="utf-8")
    assert read_spec(path) == resolved
    assert read_spec(path).to_yaml() == resolved.to_yaml()


@pytest.mark.parametrize("path", SEARCH_SPACES, ids=lambda path: path.stem)
def test_every_search_space_that_ships_reads_and_reads_back(path: Path):
    found = read_spec(path)
    assert validate(yaml.safe_load(found.to_yaml())) == (found, [])
    assert found.domains


def test_a_search_cannot_be_changed(make_spec: MakeSpec):
    with pytest.raises(ValueError, match="frozen"):
        make_spec().training.critic_lr = 1.0


# --- Choosing ----------------------------------------------------------------------------------


def inside(value: Any, domain: Range | Choice) -> bool:
    if isinstance(domain, Choice):
        return value in domain.choice
    return domain.low <= value <= domain.high and type(value) is type(domain.low)


@generous
@given(document=documents, data=st.data())
def test_choosing_asks_for_what_applies_and_makes_a_valid_trial(
    document: dict, data: st.DataObject
):
    search, _ = validate(document)
    assert search is not None
    asked: dict[str, Any] = {}

    def pick(key: str, domain: Range | Choice) -> Any:
        assert key not in asked
        if isinstance(domain, Choice):
            values = st.sampled_from(domain.choice)
        elif isinstance(domain.low, int):
            values = st.integers(domain.low, domain.high)
        else:
            values = st.floats(domain.low, domain.high)
        asked[key] = data.draw(values)
        return asked[key]

    trial = search.trial_config(search.choose(pick), seed=7)
    assert TrialConfig.model_validate(trial.model_dump(exclude_none=True)) == trial
    assert (trial.seed, trial.data, trial.objective) == (7, search.data, search.objective)
    applies = {
        "constraint": trial.training.loss == "wasserstein",
        "instance_noise": trial.training.loss in GANS,
        "r1_weight": trial.training.loss in GANS,
        "r2_weight": trial.training.loss in GANS,
        "label_smoothing": trial.training.loss in GANS,
        "gp_weight": trial.training.constraint in PENALTIES,
        "clip_value": trial.training.constraint == "clip",
        "beta1": trial.training.optimizer == "adam",
        "beta2": trial.training.optimizer == "adam",
    }
    for section in ("networks", "training"):
        for field, value in getattr(trial, section):
            key, given = f"{section}.{field}", getattr(getattr(search, section), field)
            if not applies.get(field, True):
                assert (value, key in asked) == (None, False)
            elif isinstance(given, Range | Choice):
                assert value == asked[key]
                assert inside(value, given)
            else:
                assert (value, key in asked) == (given, False)


def test_a_custom_critic_is_checked_with_feature_matching_where_that_is_searched(
    make_spec: MakeSpec,
):
    training = {"feature_matching_weight": {"choice": [0, 1]}}
    custom = make_spec(networks={"critic": "mine:C"}, training=training)
    weights = {trial.training.feature_matching_weight for trial in custom.corners()}
    assert weights == {0, 1}


# --- Grids -------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_axes(make_spec: MakeSpec):
    search = make_spec(
        search={"sampler": "grid"},
        networks={"latent_dim": {"choice": [8, 16]}, "critic_depth": {"low": 1, "high": 3}},
        training={"critic_lr": {"choice": [1e-3, 1e-4]}},
    )
    points = list(search.grid_points())
    assert search.num_trials == len(points) == 2 * 3 * 2
    expected = itertools.product([1e-3, 1e-4], [8, 16], [1, 2, 3])
    assert [tuple(point.values()) for point in points] == list(expected)
    assert all(list(point) == list(search.domains) for point in points)


def test_a_grid_has_a_point_once_though_an_axis_may_not_apply(make_spec: MakeSpec):
    """Two clip values under clipping and three weights under the penalty are five points."""
    search = make_spec(
        search={"sampler": "grid"},
        training={
            "constraint": {"choice": ["clip", "gradient_penalty"]},
            "clip_value": {"choice": [0.01, 0.1]},
            "gp_weight": {"choice": [1, 10, 100]},
            "optimizer": "rmsprop",
            "critic_lr": 1e-4,
            "generator_lr": 1e-4,
        },
    )
    points = list(search.grid_points())
    assert points == [
        *({"training.constraint": "clip", "training.clip_value": v} for v in (0.01, 0.1)),
        *(
            {"training.constraint": "gradient_penalty", "training.gp_weight": v}
            for v in (1, 10, 100)
        ),
    ]
    configs = [search.trial_config(search.choose(lambda key, _, p=p: p[key]), 0) for p in points]
    assert len(set(map(str, configs))) == 5


def test_a_grid_of_nothing_searched_is_one_trial(make_spec: MakeSpec):
    search = make_spec(search={"sampler": "grid"}, training={})
    assert (list(search.grid_points()), search.num_trials) == ([{}], 1)


@pytest.mark.parametrize(
    ("search", "num_trials"),
    [
        ({"num_trials": 5}, 5),
        ({"time_budget_s": 5}, None),
        ({"generator_steps": 10_000}, None),
        ({"generator_steps": 10_000, "num_trials": 5}, 5),
        ({"sampler": "grid"}, 3),
        ({"sampler": "grid", "num_trials": 2}, 2),
        ({"sampler": "grid", "num_trials": 5}, 3),
    ],
)
def test_a_search_ends_at_the_first_of_its_limits(
    make_spec: MakeSpec, search: dict, num_trials: int | None
):
    found = make_spec(search=search, training={"n_critic": {"low": 1, "high": 3}})
    assert found.num_trials == num_trials
    budget = math.inf if num_trials is None else num_trials * 4000
    budget = min(budget, search.get("generator_steps", math.inf))
    assert largest_budget_generator_steps(found) == budget


# --- Rungs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grace", "last", "factor", "rungs"),
    [
        (250, 4000, 4, (250, 1000, 4000)),
        (1, 243, 3, (1, 3, 9, 27, 81, 243)),  # log(243)/log(3) is 4.999... in floats
        (1, 1000, 10, (1, 10, 100, 1000)),  # log(1000)/log(10) is 2.999...
        (100, 1000, 4, (100, 400, 1000)),
        (999, 1000, 2, (999, 1000)),
    ],
)
def test_rungs_known(grace: int, last: int, factor: int, rungs: tuple[int, ...]):
    asha = AshaConfig(
        grace_generator_steps=grace, max_generator_steps=last, reduction_factor=factor
    )
    assert asha.rungs == rungs


@given(
    ends=st.lists(st.integers(1, 10**9), min_size=2, max_size=2, unique=True),
    factor=st.integers(2, 1000),
)
def test_rungs_climb_by_the_reduction_factor_to_the_last(ends: list[int], factor: int):
    grace, last = sorted(ends)
    asha = AshaConfig(
        grace_generator_steps=grace, max_generator_steps=last, reduction_factor=factor
    )
    assert (asha.rungs[0], asha.rungs[-1]) == (grace, last)
    steps = list(itertools.pairwise(asha.rungs))
    assert all(above == below * factor for below, above in steps[:-1])
    assert steps[-1][0] < last <= steps[-1][0] * factor
    assert all(type(rung) is int for rung in asha.rungs)


def test_conditions_nest_and_span_sections(make_spec: MakeSpec):
    """A critic's norm exists in a DCGAN alone, and there under some constraints alone."""
    choices = {
        "training.constraint": ["gradient_penalty", "spectral_norm", "orthogonal"],
        "networks.architecture": ["mlp", "dcgan"],
        "networks.critic_norm": ["none", "layer"],
        "networks.critic_activation": ["relu", "tanh"],
    }
    sections: dict[str, Any] = {"training": {"beta1": 0.5}, "networks": {}}
    for key, values in choices.items():
        section, field = key.split(".")
        sections[section][field] = {"choice": values}
    search = make_spec(**sections)

    def asked(constraint: str, architecture: str) -> set[str]:
        fixed = {"training.constraint": constraint, "networks.architecture": architecture}
        keys = []

        def pick(key: str, domain: Any) -> Any:
            keys.append(key)
            return fixed.get(key, domain.choice[-1])

        trial = search.trial_config(search.choose(pick), seed=0)
        searched = {key.split(".")[1] for key in keys}
        assert trial.applied()["networks"].keys() >= searched - {"constraint"}
        return searched - {"constraint", "architecture"}

    assert asked("gradient_penalty", "mlp") == {"critic_activation"}
    assert asked("gradient_penalty", "dcgan") == {"critic_activation", "critic_norm"}
    assert asked("spectral_norm", "dcgan") == {"critic_activation"}
    assert asked("orthogonal", "dcgan") == set()


def test_the_modules_of_custom_networks_are_the_packages_that_hold_them(
    make_spec: Callable[..., SearchSpec],
) -> None:
    assert make_spec().custom_modules == make_spec().code_modules == set()
    networks = {"generator": {"choice": ["nets:A", "deep.inner.nets:B"]}, "critic": "nets:C"}
    found = make_spec(networks=networks)
    assert found.custom_modules == {"nets", "deep"}
    assert found.code_modules == {"nets", "deep.inner.nets"}
    assert found.custom_classes == {"nets:A", "deep.inner.nets:B", "nets:C"}


def test_images_are_compared_by_energies_unless_pixels_or_features_are_given():
    def objective(**given: object) -> ObjectiveConfig:
        return ObjectiveConfig.model_validate(given)

    image, small, vector = (1, 28, 28), (1, 8, 8), (2,)
    assert objective().ground_of(image) == "energies"
    assert objective().ground_of(small) is None
    assert objective().ground_of(vector) is None
    assert objective(ground="pixels").ground_of(image) is None
    custom = objective(features="mine:Features")
    assert custom.ground_of(image) == custom.ground_of(vector) == "mine:Features"
    assert ObjectiveConfig.model_validate(custom.model_dump()) == custom


def test_a_ground_metric_and_features_are_not_given_together(faults_of: FaultsOf):
    (fault,) = faults_of(objective={"ground": "pixels", "features": "mine:Features"})
    assert fault.where == "objective"
    assert "ground must be left out where features is given, got pixels" in fault.message


def test_the_modules_of_features_and_metrics_are_shipped_like_a_networks(make_spec: MakeSpec):
    custom = {"features": "mine.parts:Features", "metrics": "yours:Metrics"}
    spec = make_spec(objective=custom)
    assert spec.custom_modules == {"mine", "yours"}
    assert spec.code_modules == {"mine.parts", "yours"}
