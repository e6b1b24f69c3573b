"""Targets whose weights differ from sample to sample, for the tests of per-sample hypernetworks."""

import keras
import numpy as np
from catalogue import CASES, NO_SAMPLING
from keras import layers, ops

from hyperkeras.layers import HyperConv2D, KernelGenerator
from hyperkeras.models import Hypernetwork


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def model_of(layer, shape, dtype="float32"):
    return keras.Sequential([keras.Input(shape, dtype=dtype), layer])


KERAS_LAYERS = {
    "dense": (lambda: layers.Dense(3, "tanh"), (4,), "float32"),
    "dense_time": (lambda: layers.Dense(3), (5, 2, 4), "float32"),
    "einsum_dense": (
        lambda: layers.EinsumDense("abc,cd->abd", (5, 3), bias_axes="d"),
        (5, 4),
        "float32",
    ),
    "embedding": (lambda: layers.Embedding(7, 3), (4,), "int32"),
    "conv_1d": (lambda: layers.Conv1D(3, 2, padding="causal"), (5, 4), "float32"),
    "conv_2d": (lambda: layers.Conv2D(4, 3, 2, padding="same", groups=2), (5, 6, 4), "float32"),
    "conv_3d": (lambda: layers.Conv3D(2, 2), (3, 3, 3, 2), "float32"),
    "conv_1d_transpose": (lambda: layers.Conv1DTranspose(3, 2, 2), (4, 2), "float32"),
    "conv_2d_transpose": (lambda: layers.Conv2DTranspose(3, 2, 2), (3, 3, 2), "float32"),
    "conv_3d_transpose": (lambda: layers.Conv3DTranspose(2, 2), (2, 2, 2, 2), "float32"),
    "depthwise_conv_1d": (lambda: layers.DepthwiseConv1D(2, 2), (5, 3), "float32"),
    "depthwise_conv_2d": (lambda: layers.DepthwiseConv2D(2, padding="same"), (4, 4, 3), "float32"),
    "separable_conv_1d": (
        lambda: layers.SeparableConv1D(3, 2, 2, "same", depth_multiplier=2),
        (5, 2),
        "float32",
    ),
    "separable_conv_2d": (
        lambda: layers.SeparableConv2D(3, 2, dilation_rate=2),
        (5, 5, 2),
        "float32",
    ),
    "batch_normalization": (layers.BatchNormalization, (4, 3), "float32"),
    "layer_normalization": (lambda: layers.LayerNormalization(axis=(1, 2)), (4, 3), "float32"),
    "group_normalization": (lambda: layers.GroupNormalization(2), (5, 4), "float32"),
    "rms_normalization": (layers.RMSNormalization, (5, 4), "float32"),
    "prelu": (lambda: layers.PReLU(alpha_initializer="ones"), (4,), "float32"),
    "attention": (lambda: layers.Attention(use_scale=True), (5, 4), "float32"),
    "additive_attention": (layers.AdditiveAttention, (5, 4), "float32"),
    "simple_rnn": (lambda: layers.SimpleRNN(3), (4, 2), "float32"),
    "lstm": (lambda: layers.LSTM(3, return_sequences=True), (4, 2), "float32"),
    "gru": (lambda: layers.GRU(3), (4, 2), "float32"),
    "gru_before": (lambda: layers.GRU(3, reset_after=False), (4, 2), "float32"),
    "bidirectional": (lambda: layers.Bidirectional(layers.GRU(2)), (4, 2), "float32"),
    "stacked": (
        lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(2), layers.GRUCell(3)])),
        (4, 2),
        "float32",
    ),
    "time_distributed": (lambda: layers.TimeDistributed(layers.Dense(3)), (4, 2), "float32"),
    "conv_lstm": (lambda: layers.ConvLSTM1D(2, 2), (3, 4, 2), "float32"),
    "spectral": (lambda: layers.SpectralNormalization(layers.Dense(3)), (4,), "float32"),
}
for _name in ("attention", "additive_attention"):
    _make, _shape, _dtype = KERAS_LAYERS[_name]

    def _attend(make=_make):
        inputs = keras.Input((5, 4))
        return keras.Model(inputs, make()([inputs, inputs]))

    KERAS_LAYERS[_name] = (_attend, _shape, _dtype)


class Scaled(layers.Layer):
    """A weight of its own around another layer."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.supports_masking = inner, True

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        if not self.inner.built:
            self.inner.build(shape)

    def call(self, x):
        return self.scale * self.inner(x)

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)


class TokenAndTemperature(layers.Layer):
    """A class token beside two Dense layers, whose outputs a temperature divides."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(4, "tanh"), layers.Dense(2)

    def build(self, shape):
        self.token = self.add_weight(name="token", shape=(1, 1, shape[-1]), initializer="ones")
        self.temperature = self.add_weight(name="temperature", shape=(), initializer="ones")
        self.first.build(shape)
        self.second.build((None, 4))

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        y = self.first(ops.concatenate([token, x], 1))
        return self.second(y[:, 0] + ops.mean(y, 1)) / self.temperature

    def compute_output_shape(self, shape):
        return (shape[0], 2)


class Cell(layers.Layer):
    """A recurrent cell with a weight of its own and a Dense layer."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.dense = layers.Dense(units)

    def build(self, shape):
        self.recurrent = self.add_weight(name="recurrent", shape=(self.units, self.units))
        self.dense.build(shape)

    def call(self, x, states):
        h = ops.tanh(self.dense(x) + ops.matmul(states[0], self.recurrent))
        return h, [h]


def hypernetwork_inside():
    target = model_of(layers.Dense(3), (4,))
    networks = [keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh")])]
    inputs = keras.Input((4,))
    inner = Hypernetwork(target, networks[0], per_sample=True)
    return keras.Model(inputs, inner([inputs, inputs]))


def shared_hypernetwork_inside():
    """Its condition is one row, which the samples' weights make different."""

    class Conditioned(layers.Layer):
        def __init__(self):
            super().__init__()
            body = keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh")])
            self.inner = Hypernetwork(model_of(layers.Dense(3), (4,)), body)

        def build(self, shape):
            self.inner.build([(1, 4), shape])

        def call(self, x):
            return self.inner([ops.ones((1, 4)), x])

    return Conditioned()


HYPER_CASES = ("free", "dense", "top_k", "glimpse_box", "hyper_conv2d", "hyper_dense")
HYPER_CASES += ("hyper_lstm", "layer_norm_lstm", "hyper_rnn_full", "phm_dense")
INSIDE = {
    "scaled": (lambda: Scaled(layers.Dense(2)), (4,)),
    "scaled_lstm": (lambda: Scaled(layers.LSTM(3)), (5, 2)),
    "token": (TokenAndTemperature, (3, 4)),
    "cell": (lambda: layers.RNN(Cell()), (4, 2)),
    "hypernetwork": (hypernetwork_inside, (4,)),
    "shared_hypernetwork": (shared_hypernetwork_inside, (4,)),
}
for _case in CASES:
    if _case.name in HYPER_CASES:
        INSIDE[f"catalogue_{_case.name}"] = (
            lambda case=_case: case.make(NO_SAMPLING),
            _case.input_shape,
        )


class Positions(layers.Layer):
    """Patches plus a table looked up for positions without a batch axis."""

    def __init__(self, d, rank=2, **kwargs):
        super().__init__(**kwargs)
        self.d, self.rank, self.supports_masking = d, rank, True

    def build(self, shape):
        self.dense, self.table = layers.Dense(self.d), layers.Embedding(shape[1], self.d)
        self.dense.build(shape)
        self.table.build((1, shape[1]))

    def call(self, x):
        places = ops.arange(x.shape[1])
        return self.dense(x) + self.table(places[None] if self.rank == 2 else places)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.d)


class Constant(layers.Layer):
    """A constant through a Dense layer, added to each sample."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)

    def build(self, shape):
        self.dense.build((shape[-1], shape[-1]))

    def call(self, x):
        return ops.matmul(x, self.dense(ops.eye(x.shape[-1])))

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


class TimeMajor(layers.Layer):
    """Runs a layer on [time, batch, features]."""

    def __init__(self, inner, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner

    def build(self, shape):
        self.inner.build((shape[1], shape[0], shape[2]))

    def call(self, x):
        return ops.transpose(self.inner(ops.transpose(x, (1, 0, 2))), (1, 0, 2))

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.inner.units)


class Tied(layers.Layer):
    """Token embeddings that are also the output's kernel."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.emb = layers.Embedding(7, 4)

    def build(self, shape):
        self.emb.build(shape)

    def call(self, x):
        return ops.matmul(ops.tanh(self.emb(x)), ops.transpose(self.emb.embeddings))

    def compute_output_shape(self, shape):
        return (*shape, 7)


def time_major_model():
    """Time-major layers in a Functional model: the model itself is mapped."""
    inputs = keras.Input((4, 3))
    y = layers.Dense(3)(layers.Dense(5)(ops.transpose(inputs, (1, 0, 2))))
    return keras.Model(inputs, ops.transpose(y, (1, 0, 2)))


OUTSIDE_THE_BATCH = {
    "positions": (lambda: Positions(2), (4, 3)),
    "positions_of_rank_one": (lambda: Positions(2, rank=1), (4, 3)),
    "constant": (Constant, (4,)),
    "time_major": (lambda: TimeMajor(layers.Dense(3)), (4, 3)),
    "time_major_model": (time_major_model, (4, 3)),
    "tied": (Tied, (4,)),
}


class Reduced(layers.Layer):
    """Gives one row for the whole batch."""

    def call(self, x):
        return ops.mean(x, axis=0, keepdims=True)


def statistic():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3, name="culprit")(Reduced()(inputs)))


CONSTANT_INPUTS = {"statistic": (statistic, (4,))}


class Block(layers.Layer):
    """A decoder's block, as KerasHub writes them: a causal mask of [1, n, n], padding, dropout."""

    def __init__(self, d, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.attention = layers.MultiHeadAttention(2, d // 2, dropout=0.2)
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]
        self.up, self.down = layers.Dense(2 * d, "gelu"), layers.Dense(d)
        self.dropout = layers.Dropout(0.2)

    def build(self, shape):
        self.attention.build(shape, shape)
        for norm in self.norms:
            norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 2 * shape[-1]))

    def call(self, x):
        n = x.shape[1]
        causal = ops.expand_dims(ops.tril(ops.ones((n, n), "bool")), 0)
        y = self.norms[0](x)
        x = x + self.dropout(self.attention(y, y, attention_mask=causal))
        return x + self.dropout(self.down(self.up(self.norms[1](x))))

    def compute_output_shape(self, shape):
        return shape


def transformer(scaled=False):
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(inputs)
    x = Positions(4)(x)
    block = Block(4)
    x = Scaled(block)(x) if scaled else block(x)
    return keras.Model(inputs, layers.Dense(7)(layers.LayerNormalization()(x)))


def masked():
    """A mapped layer whose sublayer sees the padding only by the mask that its input carries."""
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True)(inputs)
    return keras.Model(inputs, Scaled(layers.GRU(3, dropout=0.3))(x))


TRANSFORMERS = {
    "transformer": transformer,
    "scaled": lambda: transformer(scaled=True),
    "masked": masked,
}


# Around `Conv2D` and its like, whose layout in memory Keras asks for on PyTorch.
CONVOLUTIONS = {
    "conv_1d": (lambda: layers.Conv1D(4, 2, 2, "same"), (6, 2)),
    "conv_2d": (lambda: layers.Conv2D(4, 3, 2, "same", groups=2), (5, 6, 4)),
    "conv_3d": (lambda: layers.Conv3D(2, 2), (3, 3, 3, 2)),
    "conv_2d_transpose": (lambda: layers.Conv2DTranspose(3, 2, 2), (3, 3, 2)),
    "depthwise_conv_2d": (lambda: layers.DepthwiseConv2D(2), (4, 4, 3)),
    "separable_conv_2d": (lambda: layers.SeparableConv2D(3, 2), (5, 5, 2)),
    "scaled": (lambda: Scaled(layers.Conv2D(3, 2)), (4, 4, 2)),
    "hyper_conv_2d": (
        lambda: HyperConv2D(4, 3, KernelGenerator((3, 3, 2, 2), embedding_dim=3)),
        (5, 5, 2),
    ),
}
