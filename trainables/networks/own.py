"""A network of the user's own, from its import path."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

from torch import nn
from torch.nn.parameter import is_lazy

from trainables.networks.errors import BadNetwork, in_one_line

Player = Literal["generator", "critic"]


def build_own(player: Player, path: str, args: Mapping[str, Any], **given: Any) -> nn.Module:
    """Import ``package.module:Name`` and call ``Name(**given, **args)``.

    Args:
        player: Which of the two it is: an error's ``key`` is this, or ``generator_args``.
        path: What to import; ``sys.path`` says where from.
        args: The user's own keyword arguments, as the search space has them.
        given: What the trial gives: ``sample_shape``, and to a generator ``latent_dim``.

    Raises:
        BadNetwork: where it cannot be imported or made, or is no module with weights to train.
    """
    make = _imported(player, path)
    _refuse_keywords(player, path, make, args, given)
    try:
        network = make(**given, **args)
    except Exception as error:
        arguments = ", ".join(f"{key}={value!r}" for key, value in {**given, **args}.items())
        raise BadNetwork(
            player, f"{path} must be made by ({arguments}), but raised {in_one_line(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise BadNetwork(
            player, f"{path} must give a torch.nn.Module, got {type(network).__name__}"
        )
    _refuse_weights(player, path, network)
    return network


def _imported(player: Player, path: str) -> Callable[..., object]:
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            what = (
                f"no module {missing}: it is looked for in the folder of the search space file, "
                "where the search was started, and in PYTHONPATH"
            )
        else:
            what = f"{module_name} must be importable, but raised {in_one_line(error)}"
        raise BadNetwork(player, what) from error
    if not hasattr(module, name):
        known = [other for other in vars(module) if not other.startswith("_")]
        raise BadNetwork(
            player,
            f"{module_name} ({module.__file__}) has no {name}{_did_you_mean(name, known)}",
        )
    make = getattr(module, name)
    if not callable(make):
        raise BadNetwork(player, f"{path} must be a class or function, got {type(make).__name__}")
    return make


def _refuse_keywords(
    player: Player,
    path: str,
    make: Callable[..., object],
    args: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    """Say in the search space's words what a call would say in Python's, and of one name only."""
    key = f"{player}_args"
    if twice := _listed(name for name in args if name in given):
        raise BadNetwork(key, f"{path} is given {twice} by the trial: take it out of {key}")
    try:
        parameters = inspect.signature(make).parameters.values()
    except ValueError:
        return  # some callables written in C have none: the call itself says what is wrong
    taken = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not any(p.kind == p.VAR_KEYWORD for p in parameters):
        if lacking := _listed(name for name in given if name not in taken):
            raise BadNetwork(player, f"{path} must take {lacking}, which every trial gives it")
        own = [name for name in taken if name not in given]
        if unknown := [name for name in args if name not in taken]:
            raise BadNetwork(
                key,
                f"{path} takes no {_listed(unknown)}{_did_you_mean(unknown[0], own)}; "
                f"it takes {_listed(own) or 'none'}",
            )
    needed = [p.name for p in parameters if p.default is p.empty and p.name in taken]
    if missing := _listed(name for name in needed if name not in {**given, **args}):
        raise BadNetwork(key, f"{path} needs {missing}: give it in {key}")


def _refuse_weights(player: Player, path: str, network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    if lazy := _listed(name for name, parameter in parameters.items() if is_lazy(parameter)):
        raise BadNetwork(
            player,
            f"{path} must know the shapes of its weights from sample_shape, got lazy ones: {lazy}",
        )
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise BadNetwork(player, f"{path} must have parameters to train, got none")


def _did_you_mean(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
