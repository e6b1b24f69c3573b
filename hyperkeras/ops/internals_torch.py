"""What hyperkeras needs of PyTorch beyond its public names, each with the reason.

No other file of the library touches a private name of PyTorch, so that a new release is checked
here.
"""

from collections.abc import Sequence

import torch


def is_transformed(values: Sequence[torch.Tensor]) -> bool:
    """Whether more than a gradient is asked for: forward mode, `torch.func`, or a compiler.

    A function with a gradient of its own supports none of them.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or is_in_torch_func():
        return True
    return any(torch.autograd.forward_ad.unpack_dual(a).tangent is not None for a in values)


def is_in_torch_func() -> bool:
    """Whether a transformation of `torch.func`, such as `vmap`, is at work.

    PyTorch has public names for forward mode and compilation, but none that tells this.
    """
    return torch._C._functorch.peek_interpreter_stack() is not None
