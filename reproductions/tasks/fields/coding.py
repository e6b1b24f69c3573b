"""Numbers of a field as bits: uniform quantization, and the length of an adaptive code.

A decoder needs nothing but these bits and the field's architecture.
"""

import math
from collections.abc import Sequence

import numpy as np

SCALE_BITS = 16  # a step size, as float16
SEED_BITS = 32


def quantized(array: np.ndarray, bits: int, by_column: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Whole numbers of `bits` bits, the array that they stand for, and how many steps there are.

    The step is uniform and symmetric around 0: one for the array, or one for each column.
    """
    levels = 2 ** (bits - 1) - 1
    most = np.abs(array).max(axis=0 if by_column and array.ndim == 2 else None, keepdims=True)
    step = np.maximum((most / levels).astype("float16").astype("float64"), 6e-8)
    symbols = np.clip(np.round(array / step), -levels, levels).astype(int)
    return symbols, (symbols * step).astype("float32"), step.size


def code_length(symbols: np.ndarray, bits: int) -> float:
    """Bits of the symbols: of fixed length, or by an adaptive code, whichever is shorter; and 1.

    The adaptive code counts what came before, each symbol from ½ (Krichevsky & Trofimov 1981). It
    needs no table, and an arithmetic coder reaches its length within two bits.
    """
    alphabet = 2**bits - 1
    counts = np.unique(symbols, return_counts=True)[1]
    n = symbols.size
    log = math.lgamma(n + alphabet / 2) - math.lgamma(alphabet / 2)
    log -= sum(math.lgamma(c + 0.5) - math.lgamma(0.5) for c in counts)
    return 1 + min(n * bits, log / math.log(2) + 2)


def coded(
    arrays: Sequence[np.ndarray], bits: int, by_column: bool
) -> tuple[list[np.ndarray], float]:
    """What a decoder makes of one field's arrays, and how many bits it read."""
    decoded, length = [], 0.0
    for array in arrays:
        if bits == 16:  # as COIN stores them
            decoded.append(array.astype("float16").astype("float32"))
            length += 16 * array.size
            continue
        symbols, values, steps = quantized(array, bits, by_column)
        decoded.append(values)
        length += code_length(symbols, bits) + SCALE_BITS * steps
    return decoded, length
