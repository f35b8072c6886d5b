"""What CMA-ES left in a search's journal, checked before Optuna unpickles it.

Optuna keeps the optimiser there as a pickle, and a pickle may have any function called. A journal
may come from a stranger, or from a disk that others write to: here it is first read with stand-ins
for the few names that an optimiser's pickle has, which do nothing, and no other name at all.
"""

import io
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import BadInput, Fault

#: The attribute's name; Optuna splits the value, in hexadecimal digits, over ``cma:optimizer:0``,
#: ``cma:optimizer:1`` and so on.
_ATTRIBUTE = "cma:optimizer"


class _Optimiser:
    def __setstate__(self, state: object) -> None:
        _expect(isinstance(state, dict), "an optimiser without attributes")


class _Dtype:
    def __init__(self, code: object, *_: object) -> None:
        _expect(re.fullmatch("b1|[fiu][1248]", str(code)), f"an array of {code!r:.20}")
        self.itemsize = int(str(code)[1:])

    def __setstate__(self, state: object) -> None:
        plain = [(3, order, None, None, None, -1, -1, 0) for order in "<>=|"]
        _expect(state in plain, "an array of something else than numbers")


class _Array:
    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, raw = state
        _expect(isinstance(dtype, _Dtype) and isinstance(raw, bytes), "an array without numbers")
        whole = len(raw) == math.prod(shape) * dtype.itemsize
        _expect(whole and min(shape, default=0) >= 0, "an array of another size than it says")


class _Number:
    def __init__(self, dtype: object, raw: object) -> None:
        whole = isinstance(dtype, _Dtype) and isinstance(raw, bytes) and len(raw) == dtype.itemsize
        _expect(whole, "a number that is none")

    def __setstate__(self, state: object) -> None:
        # Every stand-in has this method, or a pickle could change the stand-in itself.
        _expect(False, "a number with attributes")


#: All that an optimiser's pickle names.
_STAND_INS = {
    "cmaes._cma.CMA": _Optimiser,
    "numpy.dtype": _Dtype,
    "numpy.ndarray": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray.scalar": _Number,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        _expect(f"{module}.{name}" in _STAND_INS, f"{module}.{name}, which no optimiser has")
        return _STAND_INS[f"{module}.{name}"]


def _expect(holds: object, what: str) -> None:
    if not holds:
        raise pickle.UnpicklingError(f"holds {what}")


def check(path: Path, attributes: Mapping[int, Mapping[str, Any]]) -> None:
    """See to it that Optuna may unpickle the optimisers in a journal.

    Args:
        path: The journal.
        attributes: The system attributes of each trial, by its number.

    Raises:
        BadInput: where a trial's is not as Optuna writes it; nothing of it was run.
    """
    found = {number: _fault(by_name) for number, by_name in attributes.items()}
    faults = [
        Fault(
            f"trial {number:05d}",
            f"{_ATTRIBUTE} must be CMA-ES's state as Optuna wrote it, but {what}: put the journal "
            "back as it was, or start another search by --name",
        )
        for number, what in found.items()
        if what is not None
    ]
    if faults:
        raise BadInput(str(path), faults)


def _fault(attributes: Mapping[str, Any]) -> str | None:
    """Why a trial's optimiser cannot be trusted; ``None`` where it can, or there is none."""
    pieces = {name: text for name, text in attributes.items() if name.startswith(_ATTRIBUTE)}
    if not pieces:
        return None
    try:
        pickled = "".join(pieces[f"{_ATTRIBUTE}:{at}"] for at in range(len(pieces)))
        found = _Reader(io.BytesIO(bytes.fromhex(pickled))).load()
    except pickle.UnpicklingError as error:
        return str(error)
    except Exception as error:  # of what was tampered with it may be anything at all
        return f"cannot be read ({type(error).__name__}: {error!s:.100})"
    return None if isinstance(found, _Optimiser) else "holds no optimiser"
