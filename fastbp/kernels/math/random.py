"""Random numbers without a state: 64 bits that follow from a key and a number.

Steele, Lea, Flood, Fast splittable pseudorandom number generators (2014), their finaliser with Stafford's constants.
"""

import numpy as np

from ...compiler.jit import kernel

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_32 = np.uint64(32)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


@kernel
def mixed(key, number):
    """64 bits that depend on every bit of a key and a number."""
    z = key + np.uint64(np.int64(number)) * _GOLDEN + _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@kernel
def below(bits, n):
    """A whole number from 0 to n - 1 from 64 random bits."""
    return np.int64(((bits >> _32) * np.uint64(n)) >> _32)
