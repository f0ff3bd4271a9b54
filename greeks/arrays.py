"""What every formula here does to its arguments first: to float64, one shape, and which of them can be used."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def as_floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def as_mask(is_call: ArrayLike) -> Mask:
    """A mask as given. Anything but booleans is refused: "PE" and -1 are true to Python, and would price a call."""
    mask = np.asarray(is_call)
    if mask.dtype != np.bool_:
        raise TypeError(f"is_call must hold booleans (True for a call, False for a put), not {mask.dtype}")
    return mask


def shape_of(**arrays: NDArray[np.generic]) -> tuple[int, ...]:
    """The shape that all of them broadcast to.

    They are not expanded: a rate or an expiry given once for a chain is worked on once.

    Raises
    ------
    ValueError
        If they do not broadcast; the message names every argument with its shape.
    """
    try:
        return np.broadcast(*arrays.values()).shape
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"shapes do not broadcast together: {shapes}") from None


def least(values: Floats) -> float:
    """The smallest of all; nan if any is, infinity if there are none. Twice as fast as `values.min(initial=…)`."""
    return float(values.item(values.argmin())) if values.size else math.inf


def positive(values: Floats) -> Mask:
    """Finite and above zero; `nan` is not."""
    found: Mask = (values > 0) & (values < np.inf)
    return found


def not_negative(values: Floats) -> Mask:
    """Finite and not below zero; `nan` is not."""
    found: Mask = (values >= 0) & (values < np.inf)
    return found
