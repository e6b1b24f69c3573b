"""How generated weights start."""

import math

import keras
from keras import ops

from hyperkeras.ops.generated.hyperfan import hyperfan_in, hyperfan_out


@keras.saving.register_keras_serializable(package="hyperkeras")
class LogitUniform(keras.initializers.RandomUniform):
    r"""Raw means that `scale_means` spreads evenly over the tensor.

    .. math:: \hat\mu = \log\frac{u}{1 - u}, \qquad u \sim U(\delta, 1 - \delta)

    so that sigmoid(μ̂) is uniform. A normal start, by contrast, crowds the tuples in the middle
    of the tensor, from where the far corners give them no gradient.

    Args:
        margin: Float δ in (0, 0.5): how far sigmoid(μ̂) stays from 0 and 1, where its gradient
            vanishes.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.
    """

    def __init__(self, margin=0.01, seed=None):
        if not 0 < margin < 0.5:
            raise ValueError(
                "Received an invalid value for `margin`, expected a number between 0 and 0.5. "
                f"Received: margin={margin}"
            )
        super().__init__(minval=margin, maxval=1 - margin, seed=seed)
        self.margin = margin

    def __call__(self, shape, dtype=None):
        u = super().__call__(shape, dtype)
        return ops.log(u) - ops.log1p(-u)

    def get_config(self):
        return {"margin": self.margin, "seed": super().get_config()["seed"]}


@keras.saving.register_keras_serializable(package="hyperkeras")
class OrthogonalMap(keras.initializers.Initializer):
    r"""A linear map from the first axis to all others that keeps the mean square.

    .. math:: \frac1m \lVert z W \rVert^2 = \frac{g^2}{n} \lVert z \rVert^2

    for W of shape `[n, ...]` with m numbers a row: orthogonal rows, so that it holds for every z,
    where n ≤ m; orthogonal columns, so that it holds on average, where n > m.

    Args:
        gain: Float g.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.
    """

    def __init__(self, gain=1.0, seed=None):
        self.gain = gain
        self.seed = seed
        self.orthogonal = keras.initializers.Orthogonal(seed=seed)

    def __call__(self, shape, dtype=None):
        n, m = shape[0], math.prod(shape[1:])
        gain = self.gain * max(1.0, m / n) ** 0.5
        return gain * ops.reshape(_draw(self.orthogonal, (n, m), dtype), shape)

    def get_config(self):
        return {"gain": self.gain, "seed": keras.saving.serialize_keras_object(self.seed)}


@keras.saving.register_keras_serializable(package="hyperkeras")
class TileEmbedding(keras.initializers.Initializer):
    r"""Embeddings in random directions, of a norm that keeps the variance of activations.

    .. math:: \frac1{N_z} \lVert z \rVert^2 = \frac{s}{\text{tiles}_{\mathrm{in}}}

    A generator gives a tile the variance ‖z‖² / (N_z f² N_in), so that the weights of the whole
    kernel have the variance s / fan_in.

    Args:
        scale: Float s: 2 before a ReLU (He et al. 2015), 1 where nothing is cut off.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.
    """

    def __init__(self, scale=2.0, seed=None):
        self.scale = scale
        self.seed = seed
        self.normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)

    def __call__(self, shape, dtype=None):
        z = self.normal(shape, dtype)  # [tiles_in, tiles_out, N_z]
        mean_square = ops.mean(ops.square(z), axis=-1, keepdims=True)
        return z * ops.sqrt(self.scale / (shape[0] * mean_square))

    def get_config(self):
        return {"scale": self.scale, "seed": keras.saving.serialize_keras_object(self.seed)}


def block_by_block(initializer, count):
    """An initializer that draws `count` blocks of columns apart, each by `initializer`."""

    def initialize(shape, dtype=None):
        block = (*shape[:-1], shape[-1] // count)
        return ops.concatenate(list(_draws(initializer, count, block, dtype)), axis=-1)

    return initialize


def sum_of_slices(initializer):
    """An initializer of `[..., e]` whose sum over e varies as one draw of `initializer` does."""

    def initialize(shape, dtype=None):
        slices = list(_draws(initializer, shape[-1], shape[:-1], dtype))
        return ops.stack(slices, axis=-1) / shape[-1] ** 0.5

    return initialize


def _draws(initializer, count, shape, dtype):
    """With an integer seed a Keras initializer repeats itself: each draw gets one of its own."""
    seed = getattr(initializer, "seed", None)
    for k in range(count):
        if k and isinstance(seed, int):
            config = {**initializer.get_config(), "seed": seed + k}
            initializer = type(initializer).from_config(config)
        yield _draw(initializer, shape, dtype)


def _draw(initializer, shape, dtype):
    """In full precision, then cast: TensorFlow has no orthogonal bfloat16 matrices."""
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype in ("float16", "bfloat16"):
        return ops.cast(initializer(shape, dtype="float32"), dtype)
    return initializer(shape, dtype=dtype)


class Hyperfan(keras.initializers.Initializer):
    """Base of `HyperfanIn` and `HyperfanOut`: normal numbers of the variance a formula gives.

    The shape that is asked for is that of a head's kernel for one weight of the target: the
    features first, then the weight's own dims. A weight of rank 1 counts as a bias.

    Args:
        feature_variance: Float Var(e), the mean square of the head's inputs.
        relu: Boolean, whether the target's activations are ReLUs.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.
    """

    def __init__(self, feature_variance=1.0, relu=True, seed=None):
        if not feature_variance > 0:
            raise ValueError(
                "Received an invalid value for `feature_variance`, expected a number above 0. "
                f"Received: feature_variance={feature_variance}"
            )
        self.feature_variance = feature_variance
        self.relu = relu
        self.seed = seed
        self.normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)

    def __call__(self, shape, dtype=None, fans=None, bias=None, biases=True):
        """The head's kernel `shape`, `[features, *dims of the target's weight]`.

        `fans`, `bias` and `biases` say what the shape can't: (fan in, fan out) of the layer,
        whether the weight is its bias, and whether its bias is generated.
        """
        variances = self.variances(shape[0], fans or _fans(shape[1:]), biases)
        bias = len(shape) < 3 if bias is None else bias
        return self.normal(shape, dtype) * float(variances[bias]) ** 0.5

    def variances(self, num_features, fans, biases):
        """Var(H) of kernels and Var(G) of biases."""
        raise NotImplementedError

    def get_config(self):
        return {
            "feature_variance": self.feature_variance,
            "relu": self.relu,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperfanIn(Hyperfan):
    r"""A head whose kernels keep the variance of the target's activations (Chang et al. 2020).

    .. math:: \mathrm{Var}(H) = \frac{2^{\mathrm{relu}}}{2^{\mathrm{biases}}\, d_j\, d_k\,
        \mathrm{Var}(e)}

    See `hyperkeras.ops.hyperfan_in`. A plain head starts kernels of variance 2 d_k Var(e) / d_k,
    whatever the target's fan-in d_j, and activations grow by that factor in each layer.

    Args:
        feature_variance: Float Var(e), the mean square of the head's inputs.
        relu: Boolean, whether the target's activations are ReLUs.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.

    References:
        - [Chang et al., 2020](https://arxiv.org/abs/2312.08399)
    """

    def variances(self, num_features, fans, biases):
        return hyperfan_in(fans[0], num_features, self.feature_variance, self.relu, biases)


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperfanOut(Hyperfan):
    r"""A head whose kernels keep the variance of the target's gradients (Chang et al. 2020).

    .. math:: \mathrm{Var}(H) = \frac{2^{\mathrm{relu}}}{d_i\, d_k\, \mathrm{Var}(e)}

    See `hyperkeras.ops.hyperfan_out`.

    Args:
        feature_variance: Float Var(e), the mean square of the head's inputs.
        relu: Boolean, whether the target's activations are ReLUs.
        seed: Integer or `keras.random.SeedGenerator`, or None for a random one.

    References:
        - [Chang et al., 2020](https://arxiv.org/abs/2312.08399)
    """

    def variances(self, num_features, fans, biases):
        return hyperfan_out(*fans, num_features, self.feature_variance, self.relu)


@keras.saving.register_keras_serializable(package="hyperkeras")
class BiasHyperInit(keras.initializers.Zeros):
    """A head that starts with the target's own start for all conditions (Beck et al. 2023).

    The head's kernel is zero and its bias, which `Hypernetwork` sets, the target's initial
    weights; conditions make a difference once the kernel has left zero.

    References:
        - [Beck et al., 2023](https://arxiv.org/abs/2210.11348)
    """


def _fans(shape):
    """(fan in, fan out) of a kernel `[*window, inputs, outputs]`, or of a bias."""
    window, ends = math.prod(shape[:-2]), shape[-2:]
    return window * ends[0], window * ends[-1]


__all__ = [
    "BiasHyperInit",
    "HyperfanIn",
    "HyperfanOut",
    "LogitUniform",
    "OrthogonalMap",
    "TileEmbedding",
]
