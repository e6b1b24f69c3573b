"""A network that generates the weights of another one."""

import keras
import numpy as np
from keras import ops

from hyperkeras import initializers, shared_serialization
from hyperkeras.models.hypernetworks import head_initialization, validation, weight_selection
from hyperkeras.models.hypernetworks.per_sample_layers import compiles, per_sample_layers
from hyperkeras.models.hypernetworks.variable_substitution import run
from hyperkeras.ops.argument_validation import check_int


@keras.saving.register_keras_serializable(package="hyperkeras")
class Hypernetwork(keras.Model):
    r"""Runs a Keras model with weights that another one makes from a condition.

    .. math:: z = \mathrm{body}(c), \qquad w = H z + b, \qquad y = \mathrm{target}(x; w)

    w is all selected weights of the target in a row, cut and reshaped into its kernels; H is the
    head. The other weights stay the target's own and are trained as usual, and what the target
    updates by itself, moving statistics and seeds of dropout, goes on.

    **Conditions.** One set of weights for the batch, from a condition `[1, ...]` (or `[b, ...]`
    with equal rows, which `fit` needs; rows that differ are an error, or NaN where a compiled
    step can't raise one), or with `per_sample=True` one for each sample. The condition is
    anything the body reads: a vector, an image, a task's number for an `Embedding`.

    **In chunks** (von Oswald et al. 2020), with `chunk_size`: one head makes w piece by piece,
    from the features and a learned embedding e_i of the piece:

    .. math:: w_i = H f_i + b, \qquad f_i = z \odot e_i
        \quad\text{or}\quad f_i = \mathrm{chunk\_network}([z; e_i])

    The product decorrelates the chunks: their weights start as independent as a plain head's.

    **Residual**, with `residual=True`: w is added to trainable base weights, which start as the
    target's own.

    **Start.** Hyperfan-in by default. Biases are generated around the target's own start, as are
    scales. In chunks, which share one head, Hyperfan's standard deviation of each weight is a
    constant factor on w. A residual head starts at zero.

    Per sample, the layers with generated weights run as one batched product: Dense, EinsumDense
    and with it MultiHeadAttention, Conv1D to 3D, DepthwiseConv, Embedding, normalizations, LSTM,
    GRU, SimpleRNN. Any other layer runs by `keras.ops.vectorized_map`, and may not update a state
    of its own; on TensorFlow XLA is then left alone.

    Keras keeps LoRA in the configuration of Dense, EinsumDense and Embedding, but not of such a
    layer inside `MultiHeadAttention`: a hypernetwork around one runs, but its file can't be loaded.

    The generated weights are read from the target once, for their shapes and their start; they
    are no weights of the hypernetwork, and training the target elsewhere would not reach it. So a
    target serves one hypernetwork, and no other model.

    Args:
        target: Built Keras model, Sequential, Functional or subclassed.
        body: Keras layer or model that maps a condition to features of any shape.
        select: What to generate: None for all trainable weights; a function of a variable; or a
            sequence of the target's layers, variables, names or paths of either, or positions in
            `target.weights`.
        per_sample: Boolean.
        chunk_size: Integer, or None for one head over all weights.
        chunk_embedding_dim: Integer, with a `chunk_network`.
        chunk_network: Keras layer or model that maps features and chunk embedding in a row to the
            head's features, or None for their product.
        chunk_initializer: Initializer of the chunk embeddings; None for normal numbers of
            variance 1.
        residual: Boolean.
        initializer: `"hyperfan_in"`, `"hyperfan_out"`, `"bias_hyper"` or any initializer of the
            head's kernel `[features, weights]`; None for Hyperfan-in, or zeros with `residual`.

    Call arguments:
        inputs: List `[condition, x]`; x is what the target takes, nested where it takes several.
        training: Boolean.

    Input shape:
        `[b, ...]` for the condition and x; 1 in place of the condition's b without `per_sample`.

    Output shape:
        The target's.

    Parameters: the body's, the target's that are not selected, and for N selected weights and F
    features (F + 1) N; in chunks of m, ⌈N / m⌉ embeddings and (F + 1) m; N more with `residual`.

    Example:

    ```python
    target = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"),
                               keras.layers.Dense(1)])
    body = keras.Sequential([keras.Input((3,)), keras.layers.Dense(32, "relu")])
    model = hyperkeras.models.Hypernetwork(target, body, per_sample=True)
    model([keras.random.normal((64, 3)), keras.random.normal((64, 8))]).shape  # (64, 1)
    ```

    References:
        - [Ha et al., 2016](https://arxiv.org/abs/1609.09106)
        - [von Oswald et al., 2020](https://arxiv.org/abs/1906.00695)
        - [Chang et al., 2020](https://arxiv.org/abs/2312.08399)
    """

    def __init__(
        self,
        target,
        body,
        select=None,
        per_sample=False,
        chunk_size=None,
        chunk_embedding_dim=None,
        chunk_network=None,
        chunk_initializer=None,
        residual=False,
        initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        validation.check_network("target", target)
        validation.check_network("body", body)
        if not target.built or not target.weights:
            raise ValueError(
                "Received an invalid value for `target`, expected a built model with weights; "
                "call its `build(input_shape)`, or begin it with keras.Input. "
                f"Received: target={target!r}, built={target.built}"
            )
        if {id(w) for w in target.weights} & {id(w) for w in body.weights}:
            raise ValueError(
                "Expected `target` and `body` to share no weights. Received: target "
                f"'{target.name}', body '{body.name}'"
            )
        self.select = weight_selection.choose(target, select)
        validation.adopt(target, self)
        self.target = target
        self.body = body
        self.per_sample = bool(per_sample)
        self.chunk_size = None if chunk_size is None else check_int("chunk_size", chunk_size, 1)
        self.chunk_embedding_dim, self.chunk_network = chunk_embedding_dim, chunk_network
        self._check_chunks()
        self.chunk_initializer = keras.initializers.get(
            chunk_initializer or keras.initializers.RandomNormal(stddev=1.0)
        )
        self.residual = bool(residual)
        self.initializer = head_initialization.initializer(
            initializer or ("zeros" if residual else "hyperfan_in")
        )
        start = isinstance(self.initializer, initializers.BiasHyperInit)
        if start and self.chunk_size and not self.residual:
            raise ValueError(
                "Expected `residual=True` with `chunk_size` and `initializer='bias_hyper'`: the "
                "bias of a head that chunks share can't start as the target's own weights. "
                f"Received: chunk_size={chunk_size}, residual={residual}"
            )
        pieces = weight_selection.describe(target, self.select)
        self.num_generated = sum(piece.size for piece in pieces)
        self.supports_jit = not self.per_sample or compiles(pieces)
        # Read here: `build` may be traced, where variables have no values.
        self._own = np.concatenate([piece.start() for piece in pieces])
        weight_selection.clear_lora(target, self.select)

    def build(self, input_shape):
        if len(input_shape) != 2:
            raise ValueError(
                f"Expected `inputs` of '{self.name}' to be a list [condition, x]. "
                f"Received: shapes {input_shape}"
            )
        condition = tuple(input_shape[0])
        known = getattr(self.body, "input_shape", None) if self.body.built else None
        if isinstance(known, tuple) and not validation.fits(condition, known):
            raise ValueError(
                f"Expected `condition` of shape {known}, as the body of '{self.name}' was built "
                f"for. Received: condition of shape {condition}"
            )
        if not self.body.built:
            self.body.build(condition)
        features = tuple(self.body.compute_output_shape(condition))[1:]
        if None in features:
            raise ValueError(
                f"Expected the body of '{self.name}' to give features of known dims besides the "
                f"batch. Received: features of shape {(None, *features)}"
            )
        self.condition_shape = condition[1:]
        self._build_head(int(np.prod(features)))
        super().build(input_shape)

    def _build_head(self, num_features):
        pieces, total = weight_selection.describe(self.target, self.select), self.num_generated
        # Vectors start around the target's own values, kernels around 0.
        own = self._own
        start = own * np.repeat([p.is_bias or p.is_gain for p in pieces], [p.size for p in pieces])
        if isinstance(self.initializer, initializers.BiasHyperInit):
            start = own
        if self.residual:
            start = np.zeros(total)
        self.base = self.offset = None
        if self.residual:
            self.base = self.add_weight(
                name="base", shape=(total,), initializer=head_initialization.values(own)
            )
        hyperfan, self._spread = isinstance(self.initializer, initializers.Hyperfan), None
        if self.chunk_size is None:
            kernel = (
                head_initialization.by_pieces(self.initializer, pieces)
                if hyperfan
                else self.initializer
            )
            self._add_head(num_features, total, kernel, head_initialization.values(start))
            return
        count = -(-total // self.chunk_size)
        dim = self.chunk_embedding_dim or num_features
        self.chunk_embeddings = self.add_weight(
            name="chunk_embeddings", shape=(count, dim), initializer=self.chunk_initializer
        )
        if self.chunk_network is not None:
            if not self.chunk_network.built:
                self.chunk_network.build((None, num_features + dim))
            shape = self.chunk_network.compute_output_shape((None, num_features + dim))
            num_features = int(np.prod(shape[1:]))
        kernel = self.initializer
        if hyperfan:
            energy = num_features * self.initializer.feature_variance
            self._spread = (
                head_initialization.spread(self.initializer, pieces, num_features) * energy**0.5
            )
            kernel = keras.initializers.RandomNormal(
                stddev=energy**-0.5, seed=self.initializer.seed
            )
        self._add_head(num_features, self.chunk_size, kernel, "zeros")
        if start.any():
            self.offset = self.add_weight(
                name="offset",
                shape=(total,),
                initializer=head_initialization.values(start),
                trainable=False,
            )

    def _add_head(self, num_features, units, kernel, bias):
        self.head_kernel = self.add_weight(
            name="head_kernel", shape=(num_features, units), initializer=kernel
        )
        self.head_bias = self.add_weight(name="head_bias", shape=(units,), initializer=bias)

    def call(self, inputs, training=None):
        condition, x = self._check_inputs(inputs)
        validation.check_used_once(self.target)
        if not self.per_sample:
            condition, differ = condition[:1], validation.rows_differ(condition)
        rows = self._rows(condition)  # [c, N]
        if not self.per_sample and differ is not None:
            rows = ops.where(differ, float("nan"), rows)
        pieces = weight_selection.describe(self.target, self.select)
        values = self._cut(rows, pieces)
        values = [self._regularized(p.variable, v) for p, v in zip(pieces, values, strict=True)]
        if not self.per_sample:
            values = [value[0] for value in values]
        pairs = [(piece.variable, value) for piece, value in zip(pieces, values, strict=True)]
        kwargs = {} if training is None else {"training": training}
        if self.per_sample:
            with per_sample_layers(self.target, pieces):
                outputs, losses = run(self.target, pairs, x, **kwargs)
        else:
            outputs, losses = run(self.target, pairs, x, **kwargs)
        for loss in losses:
            self.add_loss(loss)
        return outputs

    def generate(self, condition):
        """The target's weights for each of c conditions.

        Args:
            condition: Tensor of shape `[c, ...]`.

        Returns:
            List of tensors `[c, *shape]`, one for each of `generated_weights`.
        """
        pieces = weight_selection.describe(self.target, self.select)
        return self._cut(self.generate_flat(condition), pieces)

    def generate_flat(self, condition):
        """As `generate`, all of a condition's weights in a row: tensor of shape `[c, N]`."""
        condition = ops.convert_to_tensor(condition)
        if not self.built:
            raise ValueError(f"Expected '{self.name}' to be built; call it on [condition, x] once.")
        self._check_condition(condition)
        return self._rows(condition)

    def _rows(self, condition):
        features = self.body(condition)
        kernel, bias = self.head_kernel.value, self.head_bias.value
        # In the variables' precision: half of it is too coarse for sums of small changes.
        features = ops.cast(features, self.variable_dtype)
        c = ops.shape(features)[0]
        features = ops.reshape(features, (c, int(np.prod(features.shape[1:]))))
        kernel, bias = ops.cast(kernel, features.dtype), ops.cast(bias, features.dtype)
        if self.chunk_size is None:
            rows = ops.matmul(features, kernel) + bias
        else:
            rows = ops.matmul(self._chunk_features(features, c), kernel) + bias  # [c, n, m]
            rows = ops.reshape(rows, (c, rows.shape[-2] * self.chunk_size))
            rows = rows[:, : self.num_generated]
            if self._spread is not None:
                rows = rows * ops.convert_to_tensor(self._spread, rows.dtype)
        for shift in (self.base, self.offset):
            if shift is not None:
                rows = rows + ops.cast(shift, rows.dtype)
        return rows

    def _chunk_features(self, features, c):
        embeddings = ops.cast(self.chunk_embeddings, features.dtype)  # [n, E]
        if self.chunk_network is None:
            return features[:, None] * embeddings
        n, f = embeddings.shape[0], features.shape[-1]
        both = ops.concatenate(
            [
                ops.broadcast_to(features[:, None], (c, n, f)),
                ops.broadcast_to(embeddings, (c, *embeddings.shape)),
            ],
            axis=-1,
        )
        made = self.chunk_network(ops.reshape(both, (-1, both.shape[-1])))
        made = ops.cast(made, features.dtype)
        return ops.reshape(made, (-1, n, int(np.prod(made.shape[1:]))))

    def _cut(self, rows, pieces):
        ends = np.cumsum([piece.size for piece in pieces])[:-1].tolist()
        parts = ops.split(rows, ends, axis=-1) if ends else [rows]
        return [ops.reshape(a, (-1, *p.shape)) for a, p in zip(parts, pieces, strict=True)]

    def _regularized(self, variable, value):
        """The variable's own constraint and regularizer, on what stands in for it."""
        if variable.constraint is not None:
            value = ops.vectorized_map(variable.constraint, value)
        if variable.regularizer is not None:
            self.add_loss(ops.mean(ops.vectorized_map(variable.regularizer, value)))
        return value

    def _check_inputs(self, inputs):
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(
                f"Expected `inputs` of '{self.name}' to be a list [condition, x]. Received: "
                f"{type(inputs).__name__} of {len(inputs) if hasattr(inputs, '__len__') else 1}"
            )
        condition, x = inputs
        self._check_condition(condition)
        c, b = condition.shape[0], keras.tree.flatten(x)[0].shape[0]
        allowed = (b,) if self.per_sample else (1, b)
        if None not in (c, b) and c not in allowed:
            rows = "one row for each of x" if self.per_sample else "one row, or as many as x"
            raise ValueError(
                f"Expected `condition` to have {rows} with per_sample={self.per_sample}. Received: "
                f"condition of shape {tuple(condition.shape)}, x with {b} rows"
            )
        return condition, x

    def _check_condition(self, condition):
        if not validation.fits(condition.shape[1:], self.condition_shape):
            raise ValueError(
                f"Expected `condition` of shape {(None, *self.condition_shape)}, as '{self.name}' "
                f"was built for. Received: condition of shape {tuple(condition.shape)}"
            )

    def _check_chunks(self):
        given = (self.chunk_embedding_dim, self.chunk_network)
        if self.chunk_network is not None:
            validation.check_network("chunk_network", self.chunk_network)
        if self.chunk_embedding_dim is not None:
            check_int("chunk_embedding_dim", self.chunk_embedding_dim, 1)
        if (given[0] is None) != (given[1] is None) or (given[0] and self.chunk_size is None):
            raise ValueError(
                "Expected `chunk_size`, `chunk_embedding_dim` and `chunk_network` together, or of "
                f"these `chunk_size` alone. Received: chunk_size={self.chunk_size}, "
                f"chunk_embedding_dim={given[0]}, chunk_network={given[1]!r}"
            )

    @property
    def generated_weights(self):
        """The target's variables that generated weights stand in for."""
        weights = self.target.weights
        return [weights[i] for i in self.select]

    # The variables that generated weights stand in for are no state of this model.

    @property
    def variables(self):
        return self._without_generated(super().variables)

    @property
    def weights(self):
        return self._without_generated(super().weights)

    def _without_generated(self, variables):
        if getattr(self, "target", None) is None:
            return variables
        generated = {id(variable) for variable in self.generated_weights}
        return [variable for variable in variables if id(variable) not in generated]

    def compute_output_spec(self, inputs, training=None):
        _, x = self._check_inputs(inputs)
        return self.target.compute_output_spec(x)

    def compute_output_shape(self, input_shape):
        return self.target.compute_output_shape(input_shape[1])

    def get_config(self):
        networks = {"target": keras.saving.serialize_keras_object(self.target)}
        for name in ("body", "chunk_network"):
            networks[name] = shared_serialization.serialize(getattr(self, name))
        return {
            **super().get_config(),
            **networks,
            "select": list(self.select),
            "per_sample": self.per_sample,
            "chunk_size": self.chunk_size,
            "chunk_embedding_dim": self.chunk_embedding_dim,
            "chunk_initializer": keras.initializers.serialize(self.chunk_initializer),
            "residual": self.residual,
            "initializer": keras.initializers.serialize(self.initializer),
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        config["target"] = keras.saving.deserialize_keras_object(config["target"])
        for name in ("body", "chunk_network"):
            config[name] = shared_serialization.deserialize(config[name], config.get("name"))
        return cls(**config)
