"""Calls of a target's layers, redirected while a scope is open.

`intercept` replaces the `call` of each layer once, by a function that asks for the redirection in
force. The redirection is a context variable: each thread has its own, so that a target serves
several threads at a time, and without one a layer runs as ever.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

from keras import layers

from hyperkeras.keras_internals import sublayers

_redirection: contextvars.ContextVar[Callable | None] = contextvars.ContextVar(
    "hyperkeras_redirection", default=None
)


def intercept(target: layers.Layer) -> None:
    """Makes the calls of `target` and of all its sublayers redirectable, which is done once."""
    for layer in sublayers(target):
        for name in ("call", "quantized_call"):
            # In `__dict__`, since Keras and PyTorch track what is assigned.
            if not hasattr(layer.__dict__.get(name), "intercepts"):
                layer.__dict__[name] = _intercepted(layer, getattr(layer, name))
        if hasattr(layer, "use_cudnn") and "inner_loop" not in layer.__dict__:
            layer.__dict__["inner_loop"] = _without_cudnn(layer, layer.inner_loop)


@contextlib.contextmanager
def redirected(redirection: Callable) -> Iterator[None]:
    """A scope where `redirection(layer, call, args, kwargs)` answers the calls of each layer.

    `call` is the layer's own. A redirection replaces that of the scope around it.
    """
    token = _redirection.set(redirection)
    try:
        yield
    finally:
        _redirection.reset(token)


def plainly(layer: layers.Layer, call: Any, args: Any, kwargs: Any) -> Any:
    """The redirection that runs each layer as ever, but for cuDNN."""
    return call(*args, **kwargs)


def _intercepted(layer, plain):
    @functools.wraps(plain)
    def call(*args, **kwargs):
        redirection = _redirection.get()
        if redirection is None:
            return plain(*args, **kwargs)
        return redirection(layer, plain, args, kwargs)

    call.__dict__["intercepts"] = True
    return call


def _without_cudnn(layer, plain):
    """CuDNN's kernels take one set of weights, and read the cell's without calling it."""

    @functools.wraps(plain)
    def inner_loop(*args, **kwargs):
        if _redirection.get() is None:
            return plain(*args, **kwargs)
        return layers.RNN.inner_loop(layer, *args, **kwargs)

    return inner_loop
