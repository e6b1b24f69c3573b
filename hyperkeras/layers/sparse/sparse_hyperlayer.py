"""The sparse adaptive hyperlayer."""

import math

import keras
import numpy as np
from keras import ops

from hyperkeras.ops.argument_validation import check_int, check_size
from hyperkeras.ops.sparse.contraction import contract
from hyperkeras.ops.sparse.proportions import distribute
from hyperkeras.ops.sparse.sampling import inside, sample_columns, sample_tuples, window_dims
from hyperkeras.ops.sparse.weighted_gather import read


@keras.saving.register_keras_serializable(package="hyperkeras")
class SparseHyperlayer(keras.layers.Layer):
    r"""A sparse linear map whose wiring is learned, and may differ for each input.

    .. math:: y[o] = \sum_{t = (o, j)} w_t\, x[j], \qquad w_t = \sum_k q(t \mid k)\, v_k

    The weight tensor has rank r: the output's dims, then the input's. It is never stored densely,
    but as k continuous index tuples, each a Gaussian (mean μ, variance σ) with a value v, which
    the source gives. In training each mean's integer neighbors, and samples drawn globally and
    near it, share its value by q; gradients reach μ, σ and v through w. At inference each mean is
    rounded (half to even) to one tuple, which carries its v: nothing is drawn.

    Tuples are cut into chunks. Duplicates and shares are taken inside a chunk, which costs
    O(chunk²), so with chunks of constant size time and memory are linear in k.

    Args:
        target_shape: Integer or sequence of integers: the output's shape without the batch.
        source: Keras layer that maps the input to `(means [b, k, c], sigmas [b, k, c],
            values [b, k])` in index space, such as `FreeSource` or `DenseSource`.
        chunk_size: Integer that divides k, or None for one chunk.
        global_samples: Integer ≥ 0, tuples a mean drawn over the whole tensor.
        local_samples: Integer ≥ 0, tuples a mean drawn in a window around it.
        region: Integer, or sequence of one integer a learned column: the window's dims. A window
            wider than the tensor covers it, as None does.
        template: None, or integers of shape `[k, r]`: index tuples whose columns are fixed but
            for the learned ones, in which the template's entries are not read.
        learned_columns: Sequence of the c columns that the source gives; needed with a template.
        use_bias: Boolean.
        bias_initializer: Initializer of the bias.
        bias_regularizer: Regularizer of the bias.
        bias_constraint: Constraint of the bias.
        carried_axes: Integer: the input's last axes that the tensor does not touch, as channels
            in a crop. They follow the target's dims in the output.
        seed: Integer, or None for a random one.

    Call arguments:
        inputs: Tensor of shape `[b, *input dims, *carried dims]`.
        training: Boolean, whether tuples are sampled.
        tuple_range: None, or a pair (first, end) of multiples of `chunk_size`: only these tuples
            are sampled, the others are rounded and get no gradient, so that a k whose samples
            don't fit in memory can train. For a given gradient of the output, the gradients of
            the source, the input and the bias summed over ranges that cover all tuples equal in
            expectation those of the whole layer; layers that follow get theirs once a range.

    Input shape:
        `[b, *input dims, *carried dims]`, all known but b.

    Output shape:
        `[b, *target_shape, *carried dims]`.

    Parameters: the source's, and as many as the output has numbers with `use_bias`.

    On TensorFlow, `supports_jit` is False, so that `fit` leaves XLA alone: the product uses
    `tf.sparse`, which XLA can't compile, and on a CPU the graph is about three times as fast.
    Under `tf.function(jit_compile=True)` the generic path is taken.

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
        target_shape,
        source,
        chunk_size=None,
        global_samples=0,
        local_samples=0,
        region=None,
        template=None,
        learned_columns=None,
        use_bias=False,
        bias_initializer="zeros",
        bias_regularizer=None,
        bias_constraint=None,
        carried_axes=0,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        shape = (target_shape,) if isinstance(target_shape, int) else target_shape
        self.target_shape = check_size(shape, "target_shape")
        if not isinstance(source, keras.layers.Layer):
            raise ValueError(
                "Received an invalid value for `source`, expected a Keras layer that gives means, "
                f"sigmas and values, such as FreeSource. Received: source={source!r}"
            )
        self.source = source
        self.chunk_size = None if chunk_size is None else check_int("chunk_size", chunk_size, 1)
        self.global_samples = check_int("global_samples", global_samples, 0)
        self.local_samples = check_int("local_samples", local_samples, 0)
        self.region = region
        if isinstance(region, (tuple, list)):
            self.region = tuple(check_int("region", w, 1) for w in region)
        elif region is not None:
            self.region = check_int("region", region, 1)
        self.template, self.learned_columns = _check_template(template, learned_columns)
        self.use_bias = bool(use_bias)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        self.carried_axes = check_int("carried_axes", carried_axes, 0)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, input_shape):
        dims = tuple(input_shape[1:])
        if len(dims) <= self.carried_axes or None in dims:
            raise ValueError(
                f"Expected `inputs` of layer '{self.name}' to have known dims besides the batch, "
                f"more than its carried_axes={self.carried_axes}. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        inputs, carried = _split(dims, self.carried_axes)
        self.full_size = self.target_shape + inputs
        columns = range(len(self.full_size))
        if self.template is not None:
            columns = self.learned_columns
            self._check_template_size()
        self.size = tuple(self.full_size[r] for r in columns)
        # Tuples with an output fixed by the template that share with no other need no matrix.
        inputs_columns = tuple(range(len(self.target_shape), len(self.full_size)))
        self._reads_alone = self.chunk_size == 1 and columns == inputs_columns
        window_dims(self.region, self.size)
        if hasattr(self.source, "bind"):
            self.source.bind(self.size)
        if not self.source.built:
            self.source.build(input_shape)
        given = self.source.compute_output_spec(keras.KerasTensor(input_shape, self.compute_dtype))
        self._check_tuples([x.shape for x in given])
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
            ndim=len(input_shape), axes=dict(enumerate(dims, start=1))
        )

    def call(self, inputs, training=False, tuple_range=None):
        given = self.source(inputs)
        self._check_tuples([x.shape for x in given])
        # Half precision can't hold an index, nor the inverse of a small variance.
        high = keras.backend.result_type(self.variable_dtype, "float32")
        given = tuple(ops.cast(x, high) for x in given)
        bias, whole = self.bias, (0, given[0].shape[1])
        first, end = whole if tuple_range is None else self._check_range(tuple_range, whole[1])
        if not training:
            outputs = self._rounded(given, *whole, inputs)
        else:
            outputs = self._sampled([x[:, first:end] for x in given], first, end, inputs)
            # Each gradient counts once over all ranges: the input's by the tuples in range,
            # the bias's in the first range.
            still = ops.stop_gradient(inputs)
            for a, b in ((0, first), (end, whole[1])):
                if a < b:
                    fixed = [ops.stop_gradient(x[:, a:b]) for x in given]
                    outputs = outputs + self._rounded(fixed, a, b, still)
            if bias is not None and first > 0:
                bias = ops.stop_gradient(bias) + 0 * bias  # zeros, not None
        return outputs if bias is None else outputs + bias

    def _rounded(self, given, first, end, inputs):
        """The output of tuples first to end, each mean as one integer tuple with its value."""
        means, _, values = given
        return self._contract(*self._round(means, values, first, end), inputs)

    def _sampled(self, given, first, end, inputs):
        """The output of tuples first to end, each mean's value shared among tuples near it."""
        if not self._reads_alone:
            return self._contract(*self._sample(*given, first, end), inputs)
        means, *_ = given
        columns = sample_columns(
            means,
            self.size,
            self.global_samples,
            self.local_samples,
            self.region,
            self.seed_generator,
        )
        if means.shape[0] == 1:  # one wiring, drawn once, for the whole batch
            b = ops.shape(inputs)[0]
            columns, given = (
                [ops.repeat(x, b, axis=axis) for x in arrays]
                for arrays, axis in ((columns, 1), (given, 0))
            )
        outputs = read(columns, *given, inputs)  # [b, k, *carried dims]
        return self._place(outputs, first, end)

    def _place(self, outputs, first, end):
        """What tuples first to end read `[b, k, *carried dims]`, where the template puts it."""
        shape = (-1, *self.target_shape, *outputs.shape[2:])
        cells = np.ravel_multi_index(
            self.template[first:end, : len(self.target_shape)].T, self.target_shape
        )
        num_cells = math.prod(self.target_shape)
        if not np.array_equal(cells, np.arange(num_cells)):  # else each cell has its own tuple
            outputs = ops.segment_sum(ops.swapaxes(outputs, 0, 1), cells, num_cells)
            outputs = ops.swapaxes(outputs, 0, 1)
        return ops.reshape(outputs, shape)

    def _round(self, means, values, first, end):
        """Each mean of tuples first to end as one integer tuple with its value."""
        tuples = inside(ops.round(means), np.array(self.size) - 1)
        return self._fill(tuples, first, end), values

    def _sample(self, means, sigmas, values, first, end):
        """Integer tuples `[b, i, r]` near the means, and their weights `[b, i]`."""
        chunk = self.chunk_size or end - first
        chunks = (end - first) // chunk
        means, sigmas = (ops.reshape(x, (-1, chunks, chunk, x.shape[-1])) for x in (means, sigmas))
        values = ops.reshape(values, (-1, chunks, chunk))
        tuples = sample_tuples(
            means,
            self.size,
            self.global_samples,
            self.local_samples,
            self.region,
            seed=self.seed_generator,
        )  # [b, chunks, i, c]
        i, size = tuples.shape[2], self.size
        full = self._fill(ops.reshape(tuples, (-1, chunks * i, len(size))), first, end)
        if self.template is not None and chunk > 1:
            # Fixed columns are Gaussians of no width: a tuple shares no value with another row.
            size = self.full_size
            tuples = ops.reshape(full, (-1, chunks, i, len(size)))
            rows = self.template[first:end].reshape(chunks, chunk, len(size))
            means = self._insert(means, ops.cast(rows, means.dtype))
            sigmas = self._insert(sigmas, ops.zeros_like(means))
        weights = distribute(tuples, means, sigmas, values, size)  # [b, chunks, i]
        return full, ops.reshape(weights, (-1, chunks * i))

    def _fill(self, tuples, first, end):
        """Learned columns `[b, n, c]` set into the template: `[b, n, r]`."""
        if self.template is None:
            return tuples
        rows = self.template[first:end]  # each tuple's row stands once for each of its samples
        rows = np.repeat(rows, tuples.shape[1] // len(rows), axis=0)
        return self._insert(tuples, ops.cast(rows, "int32"))

    def _insert(self, learned, fixed):
        """`fixed` [..., r] with `learned` [..., c] in the learned columns."""
        columns = []
        for r in range(len(self.full_size)):
            if r in self.learned_columns:
                columns.append(learned[..., self.learned_columns.index(r)])
            else:
                columns.append(ops.broadcast_to(fixed[..., r], ops.shape(learned[..., 0])))
        return ops.stack(columns, axis=-1)

    def _contract(self, tuples, weights, inputs):
        return contract(tuples, weights, inputs, self.target_shape)

    def _check_template_size(self):
        r = len(self.full_size)
        fixed = [j for j in range(r) if j not in self.learned_columns]
        if self.template.shape[1] != r or max(self.learned_columns) >= r:
            raise ValueError(
                f"Expected `template` to have {r} columns, the output's {self.target_shape} and "
                f"the input's {self.full_size[len(self.target_shape) :]}, and `learned_columns` to "
                f"be among them. Received: template of shape {self.template.shape}, "
                f"learned_columns={self.learned_columns}"
            )
        inside = (self.template >= 0) & (self.template < np.array(self.full_size))
        if not inside[:, fixed].all():
            raise ValueError(
                "Expected the fixed columns of `template` to lie inside the tensor of shape "
                f"{self.full_size}. Received: {self.template[~inside[:, fixed].all(1)][0]}"
            )

    def _check_tuples(self, shapes):
        """Checks what the source gives: shapes, chunks, template rows."""
        c = len(self.size)
        shapes = [tuple(shape) for shape in shapes]
        k = shapes[0][1] if len(shapes[0]) == 3 else None
        if k is None or [s[1:] for s in shapes] != [(k, c), (k, c), (k,)]:
            raise ValueError(
                f"Expected `source` to give means [b, k, {c}], sigmas [b, k, {c}] and values "
                f"[b, k], with k known. Received: {shapes}"
            )
        if self.chunk_size is not None and k % self.chunk_size:
            raise ValueError(
                "Expected `chunk_size` to divide the source's number of tuples. "
                f"Received: chunk_size={self.chunk_size} for {k} tuples"
            )
        if self.template is not None and len(self.template) != k:
            raise ValueError(
                f"Expected `template` to have one row for each of the source's {k} tuples. "
                f"Received: template of shape {self.template.shape}"
            )

    def _check_range(self, tuple_range, k):
        try:
            first, end = (int(n) for n in tuple_range)
        except (TypeError, ValueError):
            first = end = -1
        chunk = self.chunk_size or k
        if not 0 <= first < end <= k or first % chunk or end % chunk:
            raise ValueError(
                f"Expected `tuple_range` to be a pair (first, end) of multiples of the chunk size "
                f"{chunk}, with 0 <= first < end <= {k}. Received: tuple_range={tuple_range}"
            )
        return first, end

    def compute_output_shape(self, input_shape):
        _, carried = _split(tuple(input_shape[1:]), self.carried_axes)
        return (input_shape[0], *self.target_shape, *carried)

    def get_config(self):
        return {
            **super().get_config(),
            "target_shape": self.target_shape,
            "source": keras.saving.serialize_keras_object(self.source),
            "chunk_size": self.chunk_size,
            "global_samples": self.global_samples,
            "local_samples": self.local_samples,
            "region": self.region,
            "template": None if self.template is None else self.template.tolist(),
            "learned_columns": self.learned_columns,
            "use_bias": self.use_bias,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "bias_constraint": keras.constraints.serialize(self.bias_constraint),
            "carried_axes": self.carried_axes,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        source = keras.saving.deserialize_keras_object(config["source"])
        return cls(**{**config, "source": source})


def _split(dims, carried_axes):
    cut = len(dims) - carried_axes
    return dims[:cut], dims[cut:]


def _check_template(template, learned_columns):
    if (template is None) != (learned_columns is None):
        raise ValueError(
            "Expected `template` and `learned_columns` to be given together. Received: "
            f"template={template}, learned_columns={learned_columns}"
        )
    if template is None:
        return None, None
    array = np.asarray(template)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            "Expected `template` to be integers of shape [k, r]. Received: template of shape "
            f"{array.shape} and dtype {array.dtype}"
        )
    columns = tuple(check_int("learned_columns", j, 0) for j in learned_columns)
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(
            "Expected `learned_columns` to name one or more different columns. "
            f"Received: learned_columns={learned_columns}"
        )
    return array, columns
