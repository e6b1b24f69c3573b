"""Dense layers with a kernel for each sample that is never made.

With the plain head, sample b has the kernel W_b = Σ_f z_bf H_f + B. So a Dense layer computes

    x_b W_b = (z_b ⊗ x_b) H + x_b B

in as many products, from F i numbers a sample in place of i o. On a processor, where batched
products of small matrices wait for memory, that is several times faster.
"""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras import layers, ops

from hyperkeras.models.hypernetworks.lora import factors as lora_pair
from hyperkeras.ops.generated.per_sample import per_sample_dense


class Factors(NamedTuple):
    """What the kernels of all samples are made of."""

    features: Any  # z [b, F]
    kernel: Any  # H [F, i, o]
    bias: Any  # B [i, o]

    def times(self, x: Any) -> Any:
        """X times each sample's kernel, `[b, i]` to `[b, o]`."""
        f, i, o = self.kernel.shape
        if len(x.shape) > 2:
            return per_sample_dense(x, self.value())
        both = ops.reshape(self.features[:, :, None] * x[:, None], (-1, f * i))
        return ops.matmul(both, ops.reshape(self.kernel, (f * i, o))) + ops.matmul(x, self.bias)

    def value(self) -> Any:
        """The weights themselves, `[b, *shape]`."""
        f, *shape = self.kernel.shape
        rows = ops.matmul(self.features, ops.reshape(self.kernel, (f, -1)))
        return ops.reshape(rows, (-1, *shape)) + self.bias


_factors: contextvars.ContextVar[dict[int, Factors] | None] = contextvars.ContextVar(
    "hyperkeras_factors", default=None
)


@contextlib.contextmanager
def factored(by_layer: dict[int, Factors]) -> Iterator[None]:
    """A scope where the layers of these ids have kernels by their factors."""
    token = _factors.set(by_layer)
    try:
        yield
    finally:
        _factors.reset(token)


def factors_of(layer: layers.Layer) -> Factors | None:
    """The factors of the layer's kernels here, or None."""
    return (_factors.get() or {}).get(id(layer))


def can_be_factored(generated: Any, num_features: int) -> bool:
    """Whether a generated weight is the kernel of a Dense layer that gains by factors.

    Args:
        generated: `weight_selection.Generated`.
        num_features: F, the number of features that the head reads.
    """
    layer, variable = generated.layer, generated.variable
    if type(layer) is not layers.Dense or variable.name != "kernel":
        return False
    try:
        rank = len(layer.input.shape)
    except (AttributeError, ValueError):  # called several times, or in a subclassed model
        return False
    return (
        rank == 2
        and num_features < variable.shape[-1]
        and layer.quantization_mode is None
        and lora_pair(layer) is None
        # Not the variable's dtype, which is half within a call under mixed precision.
        and layer.compute_dtype == layer.variable_dtype
    )
