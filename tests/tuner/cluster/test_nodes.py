"""What is refused of a cluster before anything is started on it."""

import pytest

from tuner.cluster import nodes as cluster
from tuner.cluster.connection import _runtime_env
from tuner.cluster.environment import VARIABLES
from tuner.cluster.nodes import TrialResources
from tuner.space.sections import ResourceConfig


@pytest.mark.parametrize(
    ("resources", "there", "fits"),
    [
        ({}, {"CPU": 1}, 1),
        ({"cpus_per_trial": 2}, {"CPU": 7}, 3),
        ({"gpus_per_trial": 0.25}, {"CPU": 64, "GPU": 2}, 8),
        ({"gpus_per_trial": 0.25}, {"CPU": 3, "GPU": 2}, 3),
        ({"gpus_per_trial": "auto"}, {"CPU": 64, "GPU": 2}, 2),
        ({"gpus_per_trial": "auto"}, {"CPU": 64}, 64),
        ({"cpus_per_trial": 0.1}, {"CPU": 0.7}, 7),
        ({"gpus_per_trial": 0.1}, {"CPU": 64, "GPU": 1}, 10),
        ({"gpus_per_trial": 0.14}, {"CPU": 64, "GPU": 7}, 49),  # no part lies on two GPUs
        ({"gpus_per_trial": 0.4}, {"CPU": 64, "GPU": 2}, 4),
        ({"gpus_per_trial": 2}, {"CPU": 64, "GPU": 5}, 2),
        ({"custom": {"part": 0.1}}, {"CPU": 64, "part": 4.7}, 47),
        ({"custom": {"fast_disk": 0.5}}, {"CPU": 64, "fast_disk": 1}, 2),
        ({"accelerator_type": "H100"}, {"CPU": 4, "accelerator_type:H100": 1}, 4),
        ({"accelerator_type": "H100"}, {"CPU": 4, "accelerator_type:A100": 1}, 0),
    ],
)
def test_so_many_trials_fit(resources, there, fits):
    needs = cluster._needs(ResourceConfig(**resources), has_gpus=bool(there.get("GPU")))
    assert needs.num_slots(there) == fits
    assert needs.fit(there) == bool(fits)


def test_needs_are_said_as_a_person_would():
    assert str(TrialResources(2, 0.5, {"fast_disk": 1})) == "2 CPU, 0.5 GPU, 1 fast_disk"


def test_a_runtime_environment_of_the_users_goes_beside_ours():
    given = {"env_vars": {"MINE": "1", "TUNE_GLOBAL_CHECKPOINT_S": "7"}, "pip": ["x"]}
    found = _runtime_env([], given | {"py_modules": ["mine"]})
    assert found["pip"] == ["x"]
    assert found["py_modules"][-1] == "mine"
    assert [path.rpartition("/")[2] for path in found["py_modules"]][:2] == ["tuner", "trainables"]
    assert found["env_vars"] == VARIABLES | given["env_vars"]
