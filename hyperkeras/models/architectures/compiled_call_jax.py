"""Compiled calls on JAX."""

from collections.abc import Callable

import jax


def compiled(function: Callable) -> Callable:
    """`function` compiled; its last argument is fixed."""

    def call(*args):
        return by_last(args[-1])(*args[:-1])

    kept: dict = {}

    def by_last(last):
        if last not in kept:
            kept[last] = jax.jit(lambda *args: function(*args, last))
        return kept[last]

    return call
