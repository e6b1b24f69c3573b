"""The sparse adaptive hyperlayer."""

from collections.abc import Sequence
from typing import Unpack

import keras
import numpy as np
from keras import ops

from hyperkeras import shared_serialization
from hyperkeras.annotations import (
    Config,
    Constraint,
    Initializer,
    LayerArguments,
    Regularizer,
    Shape,
    Tensor,
)
from hyperkeras.keras_internals import is_exporting
from hyperkeras.layers.sparse.template import make_template
from hyperkeras.layers.sparse.validation import check_range, check_region, check_tuples
from hyperkeras.ops.argument_validation import (
    check_int,
    check_int_or_none,
    check_layer,
    check_size,
)
from hyperkeras.ops.sparse.contraction import contract, exportable_contract
from hyperkeras.ops.sparse.dense_weights import apply_weights, dense_weights, is_small
from hyperkeras.ops.sparse.neighbors import read_neighbors
from hyperkeras.ops.sparse.proportions import distribute
from hyperkeras.ops.sparse.sampling import draw_numbers, inside, sample_tuples, window_dims
from hyperkeras.ops.sparse.weighted_gather import read_cells, read_drawn


@keras.saving.register_keras_serializable(package="hyperkeras")
class SparseHyperlayer(keras.layers.Layer):
    r"""A sparse linear map whose wiring is learned, and may differ for each input.

    .. math:: y[o] = \sum_{t = (o, j)} w_t\, x[j], \qquad w_t = \sum_k q(t \mid k)\, v_k

    The weight tensor has rank r: the output's dims, then the input's. It is not stored densely,
    but as k continuous index tuples. Each tuple is a Gaussian (mean μ, variance σ) with a value v.
    The source gives all three. In training, the value of a tuple is divided among the integer
    tuples next to its mean, and among tuples drawn globally and near it, in the proportions q.
    Gradients reach μ, σ and v through w. At inference each mean is rounded (half to even) to one
    integer tuple, which has the whole value v. Nothing is drawn then.

    A training step computes a tensor of at most 32 cells for each integer tuple whole, if all
    tuples are one chunk, which is faster. Larger tensors are never held.

    Tuples are cut into chunks. Duplicates and proportions are computed inside a chunk, which costs
    O(chunk²). With chunks of constant size, time and memory are linear in k.

    Args:
        target_shape: Integer or sequence of integers, the output's shape without the batch.
        source: Keras layer that maps the input to `(means [b, k, c], sigmas [b, k, c],
            values [b, k])` in index space, such as `FreeSource` or `DenseSource`. The sigmas are
            variances.
        chunk_size: Integer that divides k, the number of tuples in a chunk. None (default) for
            one chunk.
        global_samples: Integer ≥ 0, how many tuples are drawn over the whole tensor for each mean
            (default 0).
        local_samples: Integer ≥ 0, how many tuples are drawn in a window around each mean
            (default 0).
        region: Integer, or sequence of one integer for each learned column: the window's dims. A
            window wider than the tensor covers the tensor, as None (default) does.
        template: None (default), or integers of shape `[k, r]`: index tuples of which all columns
            are fixed but the learned ones. Entries in learned columns are ignored.
        learned_columns: Integer, or sequence of c integers: the columns that the source gives.
            Needed with a template, and only then.
        use_bias: Boolean, whether the layer adds a bias (default `False`).
        bias_initializer: Initializer of the bias (default `"zeros"`).
        bias_regularizer: Regularizer of the bias.
        bias_constraint: Constraint of the bias.
        carried_axes: Integer ≥ 0, how many of the input's last axes the tensor does not touch, as
            channels in a crop. They follow the target's dims in the output (default 0).
        seed: Integer, the seed of the draws. None (default) for a random one.

    Call arguments:
        inputs: Tensor of shape `[b, *input dims, *carried dims]`. Integers are cast to the
            layer's compute dtype, a sparse tensor is made dense.
        source_inputs: Tensor that the source reads instead of `inputs`, such as the state of a
            recurrent network. None (default) for `inputs`.
        training: Boolean, whether tuples are sampled (default `False`).
        tuple_range: None (default), or a pair (first, end) of multiples of `chunk_size`. Only
            these tuples are sampled. The others are rounded and get no gradient, so that a k whose
            samples don't fit in memory can train. For a given gradient of the output, the
            gradients of the source, the input and the bias, summed over ranges that cover all
            tuples, equal in expectation those of the whole layer. Layers that follow get theirs
            once for each range.

    Input shape:
        `[b, *input dims, *carried dims]`, all known but b.

    Output shape:
        `[b, *target_shape, *carried dims]`.

    Parameters: the source's, and as many as the output has numbers with `use_bias`.

    On TensorFlow, `supports_jit` is False, so that `fit` does not use XLA: the product uses
    `tf.sparse`, which XLA can't compile, and which on a CPU is about three times as fast. Under
    `tf.function(jit_compile=True)`, and in an ONNX or LiteRT export, the generic path is taken.

    Example:

    ```python
    source = hyperkeras.layers.FreeSource(num_tuples=32, fixed_values=True)
    layer = hyperkeras.layers.SparseHyperlayer(
        (32,), source, global_samples=8, local_samples=8, region=8
    )
    layer(keras.random.normal((64, 32))).shape  # (64, 32)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    def __init__(
        self,
        target_shape: int | Sequence[int],
        source: keras.layers.Layer,
        chunk_size: int | None = None,
        global_samples: int = 0,
        local_samples: int = 0,
        region: int | Sequence[int] | None = None,
        template: Sequence[Sequence[int]] | np.ndarray | None = None,
        learned_columns: int | Sequence[int] | None = None,
        use_bias: bool = False,
        bias_initializer: Initializer = "zeros",
        bias_regularizer: Regularizer = None,
        bias_constraint: Constraint = None,
        carried_axes: int = 0,
        seed: int | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        super().__init__(**kwargs)
        dims = (target_shape,) if isinstance(target_shape, int) else target_shape
        self.target_shape = check_size(dims, "target_shape")
        self.source = check_layer(
            "source",
            source,
            expected="a Keras layer that gives means, sigmas and values, such as FreeSource",
        )
        self.chunk_size = check_int_or_none("chunk_size", chunk_size, 1)
        self.global_samples = check_int("global_samples", global_samples, 0)
        self.local_samples = check_int("local_samples", local_samples, 0)
        self.region = check_region(region)
        self._template = make_template(template, learned_columns)
        self.use_bias = bool(use_bias)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.carried_axes = check_int("carried_axes", carried_axes, 0)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_jit = keras.backend.backend() != "tensorflow"

    @property
    def template(self) -> np.ndarray | None:
        """The rows `[k, r]` of the template, or None."""
        return None if self._template is None else self._template.rows

    @property
    def learned_columns(self) -> tuple[int, ...] | None:
        """The columns that the source gives; None without a template, where it gives all."""
        return None if self._template is None else self._template.learned_columns

    def build(self, inputs_shape: Shape, source_inputs_shape: Shape | None = None) -> None:
        dims = tuple(inputs_shape[1:])
        if len(dims) <= self.carried_axes or None in dims:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have known dims besides the batch, "
                f"more than its carried_axes={self.carried_axes}. "
                f"Received: input_shape={tuple(inputs_shape)}"
            )
        inputs, carried = _split(dims, self.carried_axes)
        self.full_size = self.target_shape + inputs
        columns = tuple(range(len(self.full_size)))
        if self._template is not None:
            columns = self._template.learned_columns
            self._template.check(self.target_shape, self.full_size)
        self.size = tuple(self.full_size[r] for r in columns)
        # Tuples with an output fixed by the template need no matrix: each one reads the input.
        self._reads_input = columns == tuple(range(len(self.target_shape), len(self.full_size)))
        # Alone in its chunk, such a tuple has no copies but its own.
        self._reads_alone = self._reads_input and self.chunk_size == 1
        window_dims(self.region, self.size)
        self._build_source(inputs_shape if source_inputs_shape is None else source_inputs_shape)
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=self.target_shape + carried,
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.layers.InputSpec(
            ndim=len(inputs_shape), axes=dict(enumerate(dims, start=1))
        )

    def _build_source(self, shape: Shape) -> None:
        if hasattr(self.source, "bind"):
            self.source.bind(self.size)
        if not self.source.built:
            self.source.build(shape)
        given = self.source.compute_output_spec(keras.KerasTensor(shape, self.compute_dtype))
        self._check_tuples(given)
        k, i = given[0].shape[1], 2 ** len(self.size) + self.global_samples + self.local_samples
        one_chunk = self.chunk_size in (None, k)
        # Few cells for so many tuples: the weights are computed for all of them.
        self._holds_whole = self._template is None and one_chunk and is_small(self.size, k * i, k)

    def _check_tuples(self, given: Sequence[Tensor]) -> None:
        shapes = [x.shape for x in given]
        check_tuples(shapes, len(self.size), self.chunk_size, self._template)

    def call(
        self,
        inputs: Tensor,
        source_inputs: Tensor | None = None,
        training: bool = False,
        tuple_range: tuple[int, int] | None = None,
    ) -> Tensor:
        inputs = ops.convert_to_tensor(inputs, sparse=False)
        given = self.source(inputs if source_inputs is None else source_inputs)
        inputs = ops.cast(inputs, self.compute_dtype)
        self._check_tuples(given)
        # Half precision can't hold an index, nor the inverse of a small variance.
        high = keras.backend.result_type(self.variable_dtype, "float32")
        given = tuple(ops.cast(x, high) for x in given)
        bias, k = self.bias, given[0].shape[1]
        first, end = 0, k
        if tuple_range is not None:
            first, end = check_range(tuple_range, k, self.chunk_size)
        if not training:
            outputs = self._rounded_output(given, 0, k, inputs)
        else:
            whole = end - first == k  # a slice of all costs a pass, and its gradient another
            in_range = given if whole else tuple(x[:, first:end] for x in given)
            if getattr(self.source, "gives_integers", False):  # no mean lies between two tuples
                outputs = self._rounded_output(in_range, first, end, inputs)
            else:
                outputs = self._sampled_output(in_range, first, end, inputs)
            # Each gradient counts once over all ranges: the input's by the tuples in range,
            # the bias's in the first range.
            still = ops.stop_gradient(inputs)
            for a, b in ((0, first), (end, k)):
                if a < b:
                    fixed = [ops.stop_gradient(x[:, a:b]) for x in given]
                    outputs = outputs + self._rounded_output(fixed, a, b, still)
            if bias is not None and first > 0:
                bias = ops.stop_gradient(bias) + 0 * bias  # zeros, not None
        return outputs if bias is None else outputs + bias

    def _rounded_output(
        self, given: Sequence[Tensor], first: int, end: int, inputs: Tensor
    ) -> Tensor:
        """The output of tuples first to end, where each mean is one integer tuple."""
        means, _, values = given
        tuples = inside(ops.round(means), np.array(self.size) - 1)  # [b, k, c]
        if self._reads_input:
            whole = [tuples[None, ..., j] for j in range(len(self.size))]
            columns, (values,) = _for_each_sample(whole, [values], inputs)
            return self._place(read_cells(columns, values, inputs), first, end)
        if self._template is not None:
            tuples = self._template.fill(tuples, first, end)
        product = exportable_contract if is_exporting() else contract
        return product(tuples, values, inputs, self.target_shape)

    def _sampled_output(
        self, given: Sequence[Tensor], first: int, end: int, inputs: Tensor
    ) -> Tensor:
        """The output of tuples first to end, each divided among integer tuples near its mean."""
        means, sigmas, values = given
        if not self._reads_alone:
            if self._holds_whole:
                weights = self._small_weights(means, sigmas, values)
                return apply_weights(weights, inputs, self.target_shape, self.carried_axes)
            tuples, weights = self._sampled_tuples(means, sigmas, values, first, end)
            return contract(tuples, weights, inputs, self.target_shape)
        if not self.global_samples + self.local_samples:
            _, (means, sigmas, values) = _for_each_sample((), given, inputs)
            outputs = read_neighbors(means, sigmas, values, inputs, self.carried_axes)
            return self._place(outputs, first, end)
        sampling = self.global_samples, self.local_samples, window_dims(self.region, self.size)
        numbers = draw_numbers(means, self.size, *sampling, self.seed_generator)
        each, (means, sigmas, values) = _for_each_sample(numbers, given, inputs)
        outputs = read_drawn(each, means, sigmas, values, inputs, *sampling)
        return self._place(outputs, first, end)

    def _small_weights(self, means: Tensor, sigmas: Tensor, values: Tensor) -> Tensor:
        """The weights as a matrix `[b, outputs, inputs]`."""
        tuples = self._sample(means)
        outputs = len(self.target_shape)
        return dense_weights(tuples, means, sigmas, values, self.size, outputs)

    def _sample(self, means: Tensor) -> Tensor:
        """Integer tuples near the means `[..., k, c]`."""
        return sample_tuples(
            means,
            self.size,
            self.global_samples,
            self.local_samples,
            self.region,
            seed=self.seed_generator,
        )

    def _sampled_tuples(
        self, means: Tensor, sigmas: Tensor, values: Tensor, first: int, end: int
    ) -> tuple[Tensor, Tensor]:
        """Integer tuples `[b, i, r]` near the means, and their weights `[b, i]`."""
        chunk = self.chunk_size or end - first
        chunks = (end - first) // chunk
        means, sigmas = (ops.reshape(x, (-1, chunks, chunk, x.shape[-1])) for x in (means, sigmas))
        values = ops.reshape(values, (-1, chunks, chunk))
        tuples = self._sample(means)  # [b, chunks, i, c]
        i, size = tuples.shape[2], self.size
        full = ops.reshape(tuples, (-1, chunks * i, len(size)))
        if self._template is not None:
            full = self._template.fill(full, first, end)
            if chunk > 1:
                # Fixed columns are Gaussians of no width, which no other row has a part in.
                size = self.full_size
                tuples = ops.reshape(full, (-1, chunks, i, len(size)))
                rows = self._template.rows[first:end].reshape(chunks, chunk, len(size))
                means = self._template.insert(means, ops.cast(rows, means.dtype))
                sigmas = self._template.insert(sigmas, ops.zeros_like(means))
        weights = distribute(tuples, means, sigmas, values, size)  # [b, chunks, i]
        return full, ops.reshape(weights, (-1, chunks * i))

    def _place(self, outputs: Tensor, first: int, end: int) -> Tensor:
        """What tuples first to end read `[b, k, *carried dims]`, where the template puts it."""
        assert self._template is not None  # its columns are those that the output needs
        return self._template.place(outputs, first, end, self.target_shape)

    def compute_output_shape(
        self, inputs_shape: Shape, source_inputs_shape: Shape | None = None
    ) -> tuple[int | None, ...]:
        _, carried = _split(tuple(inputs_shape[1:]), self.carried_axes)
        return (inputs_shape[0], *self.target_shape, *carried)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "target_shape": self.target_shape,
            "source": shared_serialization.serialize(self.source),
            "chunk_size": self.chunk_size,
            "global_samples": self.global_samples,
            "local_samples": self.local_samples,
            "region": self.region,
            "template": None if self._template is None else self._template.rows.tolist(),
            "learned_columns": self.learned_columns,
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "carried_axes": self.carried_axes,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Config) -> "SparseHyperlayer":
        source = shared_serialization.deserialize(config["source"], config.get("name"))
        return cls(**{**config, "source": source})


def _split(dims: Shape, carried_axes: int) -> tuple[tuple, tuple]:
    cut = len(dims) - carried_axes
    return tuple(dims[:cut]), tuple(dims[cut:])


def _for_each_sample(
    columns: Sequence[Tensor], given: Sequence[Tensor], inputs: Tensor
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Columns `[i, 1, k]` and what the source gives `[1, k, ...]`, for each sample of the batch."""
    if given[0].shape[0] != 1:
        return columns, given
    b = ops.shape(inputs)[0]
    return (
        [ops.broadcast_to(x, (x.shape[0], b, x.shape[2])) for x in columns],
        [ops.broadcast_to(x, (b, *x.shape[1:])) for x in given],
    )
