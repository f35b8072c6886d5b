"""The best generator as a model that MLflow loads and serves, one for each search.

Nothing of it is pickled: MLflow calls :mod:`trainables.serving`, which travels along with the rest
of the package and with the user's own network, and loads the weights alone.

A model is found again by its search and by the checksum of its weights. Of a search whose best has
changed the new model is made first, and the old one is deleted after it.
"""

import hashlib
import importlib.metadata
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import trainables
from trainables.checkpoint import load_whole
from trainables.config import code_of, module_of, top_level_module
from tuner.tracking.values import SEARCH_TAG

NAME = "generator"
WEIGHTS_TAG = "tuner.weights_sha256"
#: What the carried code imports to make samples.
_REQUIREMENTS = ("jaxtyping", "numpy", "pydantic", "torch")
_NUM_EXAMPLES = 2


def write(
    client: Any,
    experiment_id: str,
    run_id: str,
    generator: Path,
    tags: Mapping[str, str],
) -> tuple[str, bool]:
    """Make this generator a search's one model; idempotent.

    Args:
        client: MLflow's.
        experiment_id: Where the model goes.
        run_id: The search's own run, which it belongs to.
        generator: ``generator.pt``.
        tags: The model's, with the search's id.

    Returns:
        Its id, and whether it was missing.

    Raises:
        DamagedCheckpointError: where the file is not whole.
        ModuleNotFoundError: where the user's own network is not importable from here.
    """
    weights = hashlib.sha256(generator.read_bytes()).hexdigest()
    wanted = f"tags.`{SEARCH_TAG}` = '{tags[SEARCH_TAG]}'"
    found = list(client.search_logged_models([experiment_id], wanted))
    same = [model for model in found if model.tags.get(WEIGHTS_TAG) == weights]
    ready = [model for model in same if model.status == "READY"]
    is_missing = not ready
    if ready:
        model = ready[0]
    else:  # one that is not ready was cut off in between
        all_tags = {**tags, WEIGHTS_TAG: weights}
        model = (
            same[0]
            if same
            else client.create_logged_model(experiment_id, NAME, run_id, tags=all_tags)
        )
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "model")
            save(folder, generator, run_id, model.model_id)
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
    _link(client, run_id, model.model_id)
    for other in found:
        if other.model_id != model.model_id:
            client.delete_logged_model(other.model_id)
    return model.model_id, is_missing


def save(folder: Path, generator: Path, run_id: str | None, model_id: str | None) -> None:
    """Write the model into a folder that is not there yet."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    saved = load_whole(generator, "meta")
    latent_dim, sample_shape = saved["networks"]["latent_dim"], saved["sample_shape"]
    custom = saved["networks"].get("generator")
    code, requirements = _own_code(custom)
    float32 = np.dtype("float32")
    latents = np.random.default_rng(0).standard_normal((_NUM_EXAMPLES, latent_dim))
    pyfunc.save_model(
        path=str(folder),
        loader_module="trainables.serving",
        data_path=str(generator),
        code_paths=[str(path) for path in (Path(trainables.__path__[0]), *code)],
        model_config={"allow_code": [module_of(custom)] if custom else []},
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        signature=ModelSignature(
            Schema([TensorSpec(float32, (-1, latent_dim))]),
            Schema([TensorSpec(float32, (-1, *sample_shape))]),
        ),
        input_example=latents.astype(float32),
        pip_requirements=[*map(_pinned, _REQUIREMENTS), *requirements],
    )


def _link(client: Any, run_id: str, model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    linked = {model.model_id for model in outputs.model_outputs} if outputs else set()
    if model_id not in linked:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])


def _own_code(path: str | None) -> tuple[list[Path], list[str]]:
    """Find the module of a user's own generator, or the installed package that has it."""
    if path is None:
        return [], []
    name = top_level_module(path)
    code = code_of(name)
    if not code:
        raise ModuleNotFoundError(
            f"the generator's module {name} is not importable from here: go to its folder, or put "
            "it into PYTHONPATH"
        )
    if "site-packages" in code[0].parts:
        return [], [_pinned(name) for name in importlib.metadata.packages_distributions()[name]]
    return code, []


def _pinned(distribution: str) -> str:
    # Without what follows "+": a build for one kind of GPU, which the package index does not have.
    return f"{distribution}=={importlib.metadata.version(distribution).partition('+')[0]}"
