"""Convolutions of Keras under `torch.func.vmap`, where a tensor's layout in memory is not known."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hyperkeras.ops.internals_torch import is_in_torch_func


def any_layout() -> AbstractContextManager:
    """A scope in which Keras's convolutions can be mapped by `torch.func.vmap`.

    They ask each tensor whether its channels come last in memory, and `vmap` has no answer. The
    layout changes the time that a convolution takes, and not what it gives: every layout is right.
    Without a transformation of `torch.func` around it the scope does nothing.
    """
    return _AnyLayout() if is_in_torch_func() else nullcontext()


class _AnyLayout(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.is_contiguous and "memory_format" in kwargs:
            return True
        return func(*args, **kwargs)
