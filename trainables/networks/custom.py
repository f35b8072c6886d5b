"""Build a custom network, or custom metrics, from the import path.

An import path names a class that its module defines, and nothing else that Python can import: the
path and the arguments may come from another person's file, and ``torch.hub:load`` would run any
code. Modules of Python and of libraries are not even imported.
"""

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

from torch import nn
from torch.nn.parameter import is_lazy

from trainables.config import module_of, top_level_module
from trainables.networks.errors import BadNetwork, in_one_line

Player = Literal["generator", "critic"]
_Key = Player | Literal["features", "metrics"]

#: Packages that hold no user's networks: Python's, those that this project needs, and its own.
#: Some of their modules act when they are imported, and some classes when they are created.
LIBRARIES = sys.stdlib_module_names | {
    *("PIL", "filelock", "functorch", "grpc", "jaxtyping", "jinja2", "joblib", "lazy_loader"),
    *("matplotlib", "mlflow", "mpl_toolkits", "numpy", "optuna", "pandas", "pip", "pkg_resources"),
    *("plotly", "pyarrow", "pydantic", "pylab", "ray", "rich", "scipy", "setuptools", "sklearn"),
    *("tensorboard", "tensorboardX", "wandb"),
    *("torch", "torchgen", "torchvision", "trainables", "tuner", "yaml"),
}


def build_custom(player: Player, path: str, args: Mapping[str, Any], **shapes: Any) -> nn.Module:
    """Import ``package.module:Name`` and return ``Name(**shapes, **args)``.

    This imports the module, whose code runs.

    Args:
        player: Which of the two networks it is. An error has this key, or ``generator_args`` or
            ``critic_args``.
        path: The import path, found through ``sys.path``.
        args: The keyword arguments from the search space.
        shapes: The keyword arguments from the trial: ``sample_shape``, and for a generator
            ``latent_dim``.

    Raises:
        BadNetwork: if it is no subclass of ``torch.nn.Module`` that the module defines, cannot be
            created, or has no trainable parameters.
    """
    network_class = _import(player, path)
    _refuse_base(player, path, network_class)
    network = _create(player, path, network_class, args, shapes)
    _refuse_weights(player, path, network)
    return network


def build_extractor(path: str, sample_shape: tuple[int, ...]) -> nn.Module:
    """Import ``package.module:Name``, and return ``Name(sample_shape=...)``, which is not trained.

    Args:
        path: The import path, found through ``sys.path``.
        sample_shape: Shape of one sample.

    Raises:
        BadNetwork: with the key ``features``, if it cannot be imported or called, or is no module.
    """
    extractor_class = _import("features", path)
    _refuse_base("features", path, extractor_class)
    return _create(
        "features", path, extractor_class, {}, {"sample_shape": sample_shape}
    ).requires_grad_(False)


def build_metrics(path: str, sample_shape: tuple[int, ...]) -> Callable[..., Any]:
    """Import ``package.module:Name``, and return ``Name(sample_shape=...)``, which is called.

    Args:
        path: The import path, found through ``sys.path``.
        sample_shape: Shape of one sample.

    Raises:
        BadNetwork: with the key ``metrics``, if it cannot be imported, created or called.
    """
    metrics_class = _import("metrics", path)
    if not issubclass(metrics_class, Callable):
        raise BadNetwork("metrics", f"{path} must have a method __call__(real, generated)")
    return _create("metrics", path, metrics_class, {}, {"sample_shape": sample_shape})


def _create(
    key: _Key, path: str, class_: type[Any], args: Mapping[str, Any], shapes: Mapping[str, Any]
) -> Any:
    _refuse_keywords(key, path, class_, args, shapes)
    try:
        return class_(**shapes, **args)
    except Exception as error:
        arguments = ", ".join(f"{name}={value!r}" for name, value in {**shapes, **args}.items())
        raise BadNetwork(
            key, f"{path} must be callable with ({arguments}), but raised {in_one_line(error)}"
        ) from error


def _import(player: _Key, path: str) -> type[Any]:
    """Import the class, after a check that the module belongs to no library."""
    module_name, name = module_of(path), path.rpartition(":")[2]
    if (package := top_level_module(path)) in LIBRARIES:
        raise BadNetwork(
            player,
            f"{path} must be a class in a module of your own, and {package} is the name of a "
            "library: write a class in a module with another name",
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            fault = (
                f"no module {missing} was found: put it into the folder of the search space file "
                "or the one where the search is started, or add its folder to PYTHONPATH"
            )
        else:
            fault = f"{module_name} must be importable, but raised {in_one_line(error)}"
        raise BadNetwork(player, fault) from error
    if not hasattr(module, name):
        names = [other for other in vars(module) if not other.startswith("_")]
        raise BadNetwork(
            player,
            f"{module_name} ({module.__file__}) has no {name}{_suggest(name, names)}",
        )
    network_class = getattr(module, name)
    if not isinstance(network_class, type):
        kind = type(network_class).__name__
        needed = "a class" if player == "metrics" else "a subclass of torch.nn.Module"
        raise BadNetwork(player, f"{path} must be {needed}, got {kind}")
    if (defined_in := network_class.__module__) != module_name:
        if defined_in.partition(".")[0] in LIBRARIES:
            way_out = f"define a subclass of it in {module_name}"
        else:
            way_out = f"write {defined_in}:{network_class.__name__}"
        raise BadNetwork(
            player,
            f"{path} must be defined in {module_name}, got a class of {defined_in}: {way_out}",
        )
    return network_class


def _refuse_base(player: _Key, path: str, network_class: type[Any]) -> None:
    if not issubclass(network_class, nn.Module):
        raise BadNetwork(player, f"{path} must be a subclass of torch.nn.Module, got another class")


def _refuse_keywords(
    player: _Key,
    path: str,
    network_class: type[Any],
    args: Mapping[str, Any],
    shapes: Mapping[str, Any],
) -> None:
    """Name faulty keywords in terms of the search space, where a call would name Python's."""
    key = f"{player}_args"
    if repeated := _join(name for name in args if name in shapes):
        raise BadNetwork(key, f"{path} gets {repeated} from the trial: take it out of {key}")
    try:
        parameters = inspect.signature(network_class).parameters.values()
    except ValueError:
        return  # some callables written in C have no signature: the call raises its own error
    accepted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind == p.VAR_KEYWORD for p in parameters):
        if lacking := _join(name for name in shapes if name not in accepted):
            raise BadNetwork(player, f"{path} must accept {lacking}, which every trial passes")
        allowed = [name for name in accepted if name not in shapes]
        if unknown := [name for name in args if name not in accepted]:
            raise BadNetwork(
                key,
                f"{path} does not accept {_join(unknown)}{_suggest(unknown[0], allowed)}; "
                f"it accepts {_join(allowed) or 'none'}",
            )
    required = [p.name for p in parameters if p.default is p.empty and p.name in accepted]
    if missing := _join(name for name in required if name not in {**shapes, **args}):
        raise BadNetwork(key, f"{path} requires {missing}: give it in {key}")


def _refuse_weights(player: Player, path: str, network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    if lazy := _join(name for name, parameter in parameters.items() if is_lazy(parameter)):
        raise BadNetwork(
            player,
            f"{path} must have weights of known shapes, got lazy ones: {lazy}; compute their "
            "shapes from sample_shape",
        )
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise BadNetwork(player, f"{path} must have trainable parameters, got none")


def _suggest(name: str, possible: Collection[str]) -> str:
    close = difflib.get_close_matches(name, possible, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _join(names: Iterable[str]) -> str:
    return ", ".join(names)
