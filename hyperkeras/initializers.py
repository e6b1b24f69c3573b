"""Initializers of generated weights and of what generates them."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Config, Seed, Shape, Tensor
from hyperkeras.ops.argument_validation import check_int_or_none, invalid_value
from hyperkeras.ops.generated.hyperfan import hyperfan_in, hyperfan_out


@keras.saving.register_keras_serializable(package="hyperkeras")
class LogitUniform(keras.initializers.RandomUniform):
    r"""Initializer of raw means, which `scale_means` spreads evenly over the tensor.

    .. math:: \hat\mu = \log\frac{u}{1 - u}, \qquad u \sim U(\delta, 1 - \delta)

    so that sigmoid(μ̂) is uniform. A normal start would put most tuples in the middle of the
    tensor, where they get no gradient from the far corners.

    Args:
        margin: Float δ in (0, 0.5), the distance of sigmoid(μ̂) from 0 and 1, where its gradient
            vanishes (default 0.01).
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).

    Example:

    ```python
    means = hyperkeras.initializers.LogitUniform(seed=0)((32, 2))
    means.shape  # (32, 2)
    source = hyperkeras.layers.FreeSource(
        32, means_initializer=hyperkeras.initializers.LogitUniform(margin=0.1)
    )
    ```
    """

    def __init__(self, margin: float = 0.01, seed: Seed = None) -> None:
        if not 0 < margin < 0.5:
            raise invalid_value("margin", "a number between 0 and 0.5", margin)
        super().__init__(minval=margin, maxval=1 - margin, seed=seed)
        self.margin = margin

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        u = super().__call__(shape, dtype)
        return ops.log(u) - ops.log1p(-u)

    def get_config(self) -> Config:
        return {"margin": self.margin, "seed": super().get_config()["seed"]}


@keras.saving.register_keras_serializable(package="hyperkeras")
class OrthogonalMap(keras.initializers.Initializer):
    r"""Initializer of linear maps, from the first axis to all others, that keep the mean square.

    .. math:: \frac1m \lVert z W \rVert^2 = \frac{g^2}{n} \lVert z \rVert^2

    for W of shape `[n, ...]` with m numbers a row. If n ≤ m, the rows are orthogonal and this holds
    for every z. If n > m, the columns are orthogonal and it holds on average.

    Args:
        gain: Float g, the factor on the root mean square (default 1).
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).

    Example:

    ```python
    hyperkeras.initializers.OrthogonalMap(gain=2.0, seed=0)((8, 3, 3, 16)).shape  # (8, 3, 3, 16)
    ```
    """

    def __init__(self, gain: float = 1.0, seed: Seed = None) -> None:
        self.gain = gain
        self.seed = seed
        self.orthogonal = keras.initializers.Orthogonal(seed=seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        n, m = shape[0], math.prod(shape[1:])
        gain = self.gain * max(1.0, m / n) ** 0.5
        return gain * ops.reshape(_draw(self.orthogonal, (n, m), dtype), shape)

    def get_config(self) -> Config:
        return {"gain": self.gain, "seed": keras.saving.serialize_keras_object(self.seed)}


@keras.saving.register_keras_serializable(package="hyperkeras")
class TileEmbedding(keras.initializers.Initializer):
    r"""Initializer of embeddings: random directions, and a norm that keeps activations' variance.

    .. math:: \frac1{N_z} \lVert z \rVert^2 = \frac{s}{\text{tiles}_{\mathrm{in}}}

    A generator gives a tile the variance ‖z‖² / (N_z f² N_in), so that the weights of the whole
    kernel have the variance s / fan_in.

    Args:
        scale: Float s: 2 (the default) before a ReLU (He et al. 2015), 1 before an activation
            that cuts nothing off.
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).

    Example:

    ```python
    generator = hyperkeras.layers.KernelGenerator((1, 1, 32, 32), embedding_dim=8)
    linear = hyperkeras.layers.HyperDense(
        64, generator, embedding_initializer=hyperkeras.initializers.TileEmbedding(scale=1.0)
    )
    ```
    """

    def __init__(self, scale: float = 2.0, seed: Seed = None) -> None:
        self.scale = scale
        self.seed = seed
        self.normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        z = self.normal(shape, dtype)  # [tiles_in, tiles_out, N_z]
        mean_square = ops.mean(ops.square(z), axis=-1, keepdims=True)
        return z * ops.sqrt(self.scale / (shape[0] * mean_square))

    def get_config(self) -> Config:
        return {"scale": self.scale, "seed": keras.saving.serialize_keras_object(self.seed)}


@keras.saving.register_keras_serializable(package="hyperkeras")
class SirenUniform(keras.initializers.Initializer):
    r"""Initializer of layers before a sine (Sitzmann et al. 2020).

    .. math:: W \sim U\left(\pm \frac{1}{n}\right) \text{ in the first layer}, \qquad
        W \sim U\left(\pm \frac1\omega \sqrt{\frac6n}\right) \text{ in the others}

    for n inputs. The argument of each sine then has about the same variance in every layer.

    Args:
        omega: Float ω > 0, the frequency of the `hyperkeras.layers.Sine` behind it (default 30).
        first: Boolean, whether the layer reads the coordinates (default `False`).
        fan_in: Integer n, the number of inputs. None (default) for what the shape of a kernel
            says. A bias has to be told.
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).

    Example:

    ```python
    start = hyperkeras.initializers.SirenUniform(first=True, seed=0)
    start((2, 64)).shape  # (2, 64)
    ```

    References:
        - [Sitzmann et al., 2020](https://arxiv.org/abs/2006.09661), section 3.2
    """

    def __init__(
        self,
        omega: float = 30.0,
        first: bool = False,
        fan_in: int | None = None,
        seed: Seed = None,
    ) -> None:
        if not omega > 0:
            raise invalid_value("omega", "a number above 0", omega)
        self.omega = omega
        self.first = bool(first)
        self.fan_in = check_int_or_none("fan_in", fan_in, 1)
        self.seed = seed
        self.uniform = keras.initializers.RandomUniform(-1.0, 1.0, seed=seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        if self.fan_in is None and len(shape) < 2:
            raise invalid_value("fan_in", f"an integer for a weight of shape {shape}", None)
        n = self.fan_in or _fans(shape)[0]
        limit = 1 / n if self.first else (6 / n) ** 0.5 / self.omega
        return limit * _draw(self.uniform, shape, dtype)

    def get_config(self) -> Config:
        return {
            "omega": self.omega,
            "first": self.first,
            "fan_in": self.fan_in,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


def block_by_block(initializer: Callable[..., Any], count: int) -> Callable[..., Any]:
    """An initializer that draws `count` blocks of columns apart, each by `initializer`."""

    def initialize(shape: Shape, dtype: Any = None) -> Tensor:
        block = (*shape[:-1], shape[-1] // count)
        return ops.concatenate(list(_draws(initializer, count, block, dtype)), axis=-1)

    return initialize


def sum_of_slices(initializer: Callable[..., Any]) -> Callable[..., Any]:
    """An initializer of `[..., e]` whose sum over e varies as one draw of `initializer` does."""

    def initialize(shape: Shape, dtype: Any = None) -> Tensor:
        slices = list(_draws(initializer, shape[-1], shape[:-1], dtype))
        return ops.stack(slices, axis=-1) / shape[-1] ** 0.5

    return initialize


def _draws(
    initializer: Callable[..., Any], count: int, shape: Shape, dtype: Any
) -> Iterator[Tensor]:
    """With an integer seed a Keras initializer repeats itself: each draw gets one of its own."""
    seed = getattr(initializer, "seed", None)
    draw: Any = initializer
    for k in range(count):
        if k and isinstance(seed, int):
            config = {**draw.get_config(), "seed": seed + k}
            draw = type(draw).from_config(config)
        yield _draw(draw, shape, dtype)


def _draw(initializer: Callable[..., Any], shape: Shape, dtype: Any) -> Tensor:
    """In full precision, then cast: TensorFlow has no orthogonal bfloat16 matrices."""
    dtype = keras.backend.standardize_dtype(dtype)
    if dtype in ("float16", "bfloat16"):
        return ops.cast(initializer(shape, dtype="float32"), dtype)
    return initializer(shape, dtype=dtype)


class Hyperfan(keras.initializers.Initializer):
    """Base class of `HyperfanIn` and `HyperfanOut`: normal numbers of the variance a formula gives.

    The shape that is asked for is that of a head's kernel for one weight of the target: the
    features first, then the weight's own dims. A weight of rank 1 counts as a bias.

    Args:
        feature_variance: Float Var(e), the mean square of the head's inputs (default 1).
        relu: Boolean, whether the target's activations are ReLUs (default `True`).
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).
    """

    def __init__(self, feature_variance: float = 1.0, relu: bool = True, seed: Seed = None) -> None:
        if not feature_variance > 0:
            raise invalid_value("feature_variance", "a number above 0", feature_variance)
        self.feature_variance = feature_variance
        self.relu = relu
        self.seed = seed
        self.normal = keras.initializers.RandomNormal(stddev=1.0, seed=seed)

    def __call__(self, shape: Shape, dtype: Any = None) -> Tensor:
        """The head's kernel `shape`, `[features, *dims of the target's weight]`."""
        is_bias = len(shape) < 3
        variance = self.variances(shape[0], _fans(shape[1:]), biases=True)[is_bias]
        return self.normal(shape, dtype) * float(variance) ** 0.5

    def variances(
        self, num_features: int, fans: tuple[int, int], biases: bool
    ) -> tuple[float, float]:
        """Var(H) of kernels and Var(G) of biases."""
        raise NotImplementedError

    def get_config(self) -> Config:
        return {
            "feature_variance": self.feature_variance,
            "relu": self.relu,
            "seed": keras.saving.serialize_keras_object(self.seed),
        }


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperfanIn(Hyperfan):
    r"""Initializer of a head that keeps the variance of activations (Chang et al. 2020).

    .. math:: \mathrm{Var}(H) = \frac{2^{\mathrm{relu}}}{2^{\mathrm{biases}}\, d_j\, d_k\,
        \mathrm{Var}(e)}

    See `hyperkeras.ops.hyperfan_in`. A plain head starts kernels of variance 2 d_k Var(e) / d_k,
    whatever the target's fan-in d_j, and activations grow by that factor in each layer.

    Args:
        feature_variance: Float Var(e), the mean square of the head's inputs (default 1).
        relu: Boolean, whether the target's activations are ReLUs (default `True`).
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).

    Example:

    ```python
    head = hyperkeras.initializers.HyperfanIn(seed=0)
    head((16, 32, 64)).shape  # (16, 32, 64): 16 features, a kernel of 32 inputs and 64 outputs
    ```

    References:
        - [Chang et al., 2020](https://arxiv.org/abs/2312.08399)
    """

    def variances(
        self, num_features: int, fans: tuple[int, int], biases: bool
    ) -> tuple[float, float]:
        return hyperfan_in(fans[0], num_features, self.feature_variance, self.relu, biases)


@keras.saving.register_keras_serializable(package="hyperkeras")
class HyperfanOut(Hyperfan):
    r"""Initializer of a head that keeps the variance of gradients (Chang et al. 2020).

    .. math:: \mathrm{Var}(H) = \frac{2^{\mathrm{relu}}}{d_i\, d_k\, \mathrm{Var}(e)}

    See `hyperkeras.ops.hyperfan_out`.

    Args:
        feature_variance: Float Var(e), the mean square of the head's inputs (default 1).
        relu: Boolean, whether the target's activations are ReLUs (default `True`).
        seed: Integer or `keras.random.SeedGenerator` (default: None, a random one).

    Example:

    ```python
    head = hyperkeras.initializers.HyperfanOut(seed=0)
    head((16, 32, 64)).shape  # (16, 32, 64): 16 features, a kernel of 32 inputs and 64 outputs
    ```

    References:
        - [Chang et al., 2020](https://arxiv.org/abs/2312.08399)
    """

    def variances(
        self, num_features: int, fans: tuple[int, int], biases: bool
    ) -> tuple[float, float]:
        return hyperfan_out(*fans, num_features, self.feature_variance, self.relu)


@keras.saving.register_keras_serializable(package="hyperkeras")
class BiasHyperInit(keras.initializers.Zeros):
    """Initializer of a head that generates the target's initial weights (Beck et al. 2023).

    The head's kernel starts at zero, and `Hypernetwork` sets its bias to the target's initial
    weights. Conditions make a difference as soon as training moves the kernel away from zero.

    Example:

    ```python
    hyperkeras.initializers.BiasHyperInit()((16, 64)).shape  # (16, 64), of zeros
    ```

    References:
        - [Beck et al., 2023](https://arxiv.org/abs/2210.11348)
    """


def _fans(shape: Shape) -> tuple[int, int]:
    """(fan in, fan out) of a kernel `[*window, inputs, outputs]`, or of a bias."""
    window, ends = math.prod(shape[:-2]), shape[-2:]
    return window * ends[0], window * ends[-1]


__all__ = [
    "BiasHyperInit",
    "HyperfanIn",
    "HyperfanOut",
    "LogitUniform",
    "OrthogonalMap",
    "SirenUniform",
    "TileEmbedding",
]
