"""Random numbers that depend on what is asked, not on what was asked before.

A market that is to be the same for the same seed, whenever one looks, cannot draw from a stream.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hashed(seed: int, salt: int, keys: NDArray[np.int64], moments: NDArray[np.int64] | int) -> NDArray[np.uint64]:
    """64 random bits for each (key, moment), keys and moments broadcast together.

    References
    ----------
    G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the mixing function).
    """
    base = np.uint64((seed * 0x632BE59BD9B4E019 + salt * 0xD1342543DE82EF95) & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        bits = keys.astype(np.uint64) * _GOLDEN + np.asarray(moments, dtype=np.int64).astype(np.uint64) + base
        for _ in range(2):  # neighbouring keys and moments need the second round
            bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            bits = bits ^ (bits >> np.uint64(31))
    return bits


def bits_of(bits: NDArray[np.uint64], first: int, count: int) -> NDArray[np.int64]:
    """`count` of the random bits as integers from 0 to 2**count − 1: one hash feeds several small choices."""
    return ((bits >> np.uint64(first)) & np.uint64((1 << count) - 1)).astype(np.int64)


def uniform(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
