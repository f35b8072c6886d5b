"""How a contract fails."""

from torch import Tensor


def require(holds: bool | Tensor, fault: str) -> None:
    """Raise ``AssertionError`` with the fault, a whole sentence, unless the condition holds."""
    if not holds:
        raise AssertionError(fault)
