"""The index tuples of a convolution, made from one learned number: its dilation."""

import math
from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras.annotations import Config, LayerArguments, Shape, Tensor
from hyperkeras.layers.sources.base_source import Source
from hyperkeras.ops.argument_validation import (
    check_choice,
    check_int,
    check_number,
    check_size,
    invalid_value,
)

MARGIN = 0.01  # of the sigmoid's start, from 0 and from 1: there its gradient vanishes


@keras.saving.register_keras_serializable(package="hyperkeras")
class DilationSource(Source):
    r"""Source of the index tuples of a convolution: one learned number sets how far they lie apart.

    .. math::
        d = 1 + (D - 1)\,\mathrm{sigmoid}(\hat d), \qquad \mu_{pa} = p + P + d\, o_a

    for each output p and each point a of the kernel, which lies o_a steps from p. The input has P
    zeros around it, enough for the largest dilation D, so that no mean is cut off. In training d
    is any number, and each mean reads the cells next to it. The gradient of d sums those of all
    tuples. At inference d is rounded, and the tuples are those of a convolution with
    `dilation_rate=round(d)`. Variances are one learned number, from zero, and values are 1.

    `DilatedConv1D` and `DilatedConv2D` pad the input and hold a `SparseHyperlayer` with this
    source.

    Args:
        kernel_size: Integer, or sequence of one to three integers: the kernel's points along each
            axis. With `padding="same"` they are odd.
        max_dilation: Integer D of at least 2, the largest dilation.
        initial_dilation: Number from 1 to D at which the dilation starts (default 1). The sigmoid
            starts between 0.01 and 0.99, and d with it.
        padding: `"same"` (default): the kernel lies around each output. `"causal"`: it ends there.
        sigma_scale: Float ≥ 0, factor on the variance (default 0.01).
        min_sigma: Float ≥ 0, added to the variance, as a fraction of the padded input's size
            (default 0).

    Input shape:
        Any. Its numbers are ignored.

    Output shape:
        Means and variances `[1, k, c]` and values `[1, k]`, for c axes and k tuples: one for each
        output and each point of the kernel, the latter last. The whole batch shares them.

    Parameters: 2.

    Example:

    ```python
    source = hyperkeras.layers.DilationSource(3, max_dilation=8, initial_dilation=2)
    source.bind((10 + 2 * 8,))  # a signal of 10 steps and its padding
    means, variances, values = source(keras.ops.zeros((4, 26)))
    means.shape  # (1, 30, 1)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        max_dilation: int,
        initial_dilation: float = 1.0,
        padding: str = "same",
        sigma_scale: float = 0.01,
        min_sigma: float = 0.0,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(sigma_scale=sigma_scale, min_sigma=min_sigma, **kwargs)
        dims = (kernel_size,) if isinstance(kernel_size, int) else kernel_size
        self.kernel_size = check_size(dims, "kernel_size")
        self.max_dilation = check_int("max_dilation", max_dilation, 2)
        self.initial_dilation = check_number("initial_dilation", initial_dilation, 1)
        if self.initial_dilation > self.max_dilation:
            expected = f"a number from 1 to max_dilation={self.max_dilation}"
            raise invalid_value("initial_dilation", expected, initial_dilation)
        self.padding = check_choice("padding", padding, ("same", "causal"))
        if self.padding == "same" and any(k % 2 == 0 for k in self.kernel_size):
            raise invalid_value("kernel_size", 'odd numbers with padding="same"', kernel_size)

    @property
    def pads(self) -> list[tuple[int, int]]:
        """How many zeros the input needs before and behind each axis."""
        reach = [(k - 1) * self.max_dilation for k in self.kernel_size]
        if self.padding == "causal":
            return [(r, 0) for r in reach]
        return [(r // 2, r // 2) for r in reach]

    @property
    def dilation(self) -> Tensor:
        """The dilation d as it is in training, a scalar."""
        raw = ops.cast(ops.convert_to_tensor(self.raw_dilation), self.index_dtype)
        return 1 + (self.max_dilation - 1) * ops.sigmoid(raw)

    def build(self, input_shape: Shape) -> None:
        size, pads = self.bound_size(), self.pads
        outputs = tuple(
            s - before - behind for s, (before, behind) in zip(size, pads, strict=False)
        )
        if len(size) != len(pads) or min(outputs) < 1:
            raise ValueError(
                f"Expected source '{self.name}' to serve {len(pads)} learned columns, the axes of "
                f"an input padded by {pads}. Received: size={size}"
            )
        self.num_tuples = math.prod(outputs) * math.prod(self.kernel_size)
        self._centers, self._offsets = self._grid(outputs)
        share = (self.initial_dilation - 1) / (self.max_dilation - 1)
        share = min(max(share, MARGIN), 1 - MARGIN)
        self.raw_dilation = self.add_weight(
            name="dilation",
            shape=(),
            initializer=keras.initializers.Constant(math.log(share / (1 - share))),
            autocast=False,
        )
        self.sigma = self.add_weight(name="sigma", shape=(), initializer="zeros", autocast=False)

    def _grid(self, outputs: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Where each tuple's output lies in the padded input, and its steps o_a: `[k, c]` each."""
        c = len(outputs)
        last = [k - 1 if self.padding == "causal" else (k - 1) // 2 for k in self.kernel_size]
        points = np.indices(self.kernel_size).reshape(c, -1).T - last  # [a, c]
        first = [before for before, _ in self.pads]
        cells = np.indices(outputs).reshape(c, -1).T + first  # [p, c]
        return np.repeat(cells, len(points), axis=0), np.tile(points, (len(cells), 1))

    def call(self, inputs: Tensor, training: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        d = self.dilation
        if not training:  # here and not mean by mean: a kernel's points stay evenly spaced
            d = ops.round(d)
        means = ops.cast(self._centers, d.dtype) + d * ops.cast(self._offsets, d.dtype)
        sigmas = ops.broadcast_to(self.variances(ops.reshape(self.sigma, (1,))), means.shape)
        return means[None], sigmas[None], ops.ones_like(means[None, :, 0])

    def compute_output_shape(self, input_shape: Shape) -> tuple[tuple[int | None, ...], ...]:
        return super().compute_output_shape((1,))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "max_dilation": self.max_dilation,
            "initial_dilation": self.initial_dilation,
            "padding": self.padding,
        }
