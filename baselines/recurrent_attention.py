"""The recurrent attention model (Mnih et al. 2014): a few glimpses, one after the other."""

import keras
import numpy as np
from keras import layers, ops

from baselines.checks import check_images, check_int, check_positive

# b images of c channels; T glimpses of S scales, each a patch of p x p.


def pyramid(images, patch, num_scales):
    """Images pooled by 1, 2, 4, ..., ready for `retina` to read patches from.

    Zeros lie around each level, enough for a patch centered anywhere in the image.

    Args:
        images: Tensor `[b, height, width, c]`.
        patch: Integer p, the patches' side.
        num_scales: Integer S.

    Returns:
        All levels' pixels in a row, tensor `[b, n, c]`, and the levels' sizes (height, width),
        zeros included.
    """
    images = ops.convert_to_tensor(images)
    b, (height, width, c) = ops.shape(images)[0], images.shape[1:]
    border, levels, sizes = patch // 2 + 1, [], []
    for scale in range(num_scales):
        if scale:
            images = ops.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
            height, width = -(-height // 2), -(-width // 2)
            images = ops.average_pool(images, 2, 2, data_format="channels_last")
        level = ops.pad(images, ((0, 0), (border, border), (border, border), (0, 0)))
        sizes.append((height + 2 * border, width + 2 * border))
        levels.append(ops.reshape(level, (b, sizes[-1][0] * sizes[-1][1], c)))
    return ops.concatenate(levels, axis=1), sizes


def retina(levels, sizes, centers, patch):
    """Concentric patches of p × p, each of twice the last one's view: a retina's glimpse.

    The patch of scale s covers p 2^s pixels each way and is read from the image pooled by
    f = 2^s, whose pixels a patch can't cut: its first one is round((center − (f − 1)/2)/f −
    (p − 1)/2), which puts the patch's middle at most f/2 pixels from `centers`. No gradient
    reaches the centers.

    Args:
        levels: Tensor `[b, n, c]`, and
        sizes: list of pairs, as `pyramid` gives.
        centers: Tensor `[b, 2]` of rows and columns in pixels, inside the image.
        patch: Integer p.

    Returns:
        Tensor `[b, S, p, p, c]`; zero outside the image.
    """
    centers = ops.convert_to_tensor(centers)
    n, c = levels.shape[1:]
    factors = 2.0 ** np.arange(len(sizes))[:, None]  # [S, 1]
    factors = ops.convert_to_tensor(factors, centers.dtype)
    starts = (centers[:, None] - (factors - 1) / 2) / factors - (patch - 1) / 2
    starts = ops.cast(ops.round(starts), "int32") + (patch // 2 + 1)  # [b, S, 2]
    widths = np.array([width for _, width in sizes], "int32")
    offsets = np.cumsum([0, *(height * width for height, width in sizes[:-1])], dtype="int32")
    first = starts[..., 0] * ops.convert_to_tensor(widths) + starts[..., 1]
    first = first + ops.convert_to_tensor(offsets)  # [b, S]
    first = first + n * ops.arange(ops.shape(levels)[0], dtype="int32")[:, None]
    side = np.arange(patch, dtype="int32")
    inside = side[:, None] * widths[:, None, None] + side  # [S, p, p]
    index = first[..., None, None] + ops.convert_to_tensor(inside)
    return ops.take(ops.reshape(levels, (-1, c)), index, axis=0)


def reinforce(log_probs, baselines, rewards):
    r"""What teaches where to look, by Mnih et al. (2014), equation 3, and the baseline's error.

    .. math:: L = \sum_t -\log \pi(l_t)\, (R - b_t), \qquad B = \sum_t (R - b_t)^2

    with R − b no path for gradients in L.

    Args:
        log_probs: Tensor `[b, t]`, of the locations drawn.
        baselines: Tensor `[b, t]`, the rewards expected before.
        rewards: Tensor R `[b]`.

    Returns:
        Tensors L and B `[b]`.
    """
    advantages = rewards[:, None] - baselines
    policy = -ops.sum(log_probs * ops.stop_gradient(advantages), axis=1)
    return policy, ops.sum(advantages**2, axis=1)


@keras.saving.register_keras_serializable(package="baselines")
class RecurrentAttention(keras.Model):
    r"""Looks at an image through a few small glimpses and says what it shows.

    .. math::
        g_t &= \mathrm{relu}(W_p\, \mathrm{relu}(W_\rho\, \rho(x, l_t))
            + W_q\, \mathrm{relu}(W_l\, l_t)) \\
        h_t &= \mathrm{relu}(W_h h_{t-1} + W_g g_t) \\
        l_{t+1} &\sim \mathcal{N}(\tanh(W_m h_t), \sigma^2 I), \qquad b_t = W_b h_t

    with ρ the retina, biases left out. Class scores are linear in the last h. Locations are
    (row, column) in [−1, 1]², ±1 being the outermost pixels' centers; what is drawn beyond is
    looked at from the border. Patches are read from an image pyramid, which is far cheaper than
    pooling each, and puts a patch of scale s up to 2^s / 2 pixels aside (see `retina`).

    In training the first location is uniform over [−1, 1]² and the others are drawn. At
    inference the first is the center and the others are the means: nothing is random.

    The loss in `fit` is the compiled one, which must take class scores and integer labels, plus
    `reinforce_weight` × REINFORCE on the locations drawn and `baseline_weight` × the baseline's
    squared error (`reinforce`), for a reward of 1 where the last scores are right, else 0.
    Neither reaches further than W_m and W_b, which nothing else teaches. `evaluate` reports the
    compiled loss alone.

    Args:
        num_classes: Integer.
        num_glimpses: Integer T ≥ 2.
        patch: Integer p, the side of a patch.
        num_scales: Integer S, the number of patches in a glimpse.
        hidden_units: Integer, units of the layers on ρ and on l. 128 in the paper.
        glimpse_units: Integer, units of g. 256 in the paper.
        units: Integer, units of h. 256 in the paper.
        location_std: Float > 0, σ.
        reinforce_weight: Float > 0.
        baseline_weight: Float > 0.
        monte_carlo: Integer. How many times each image is looked at in training; the losses are
            the mean, the scores those of the mean probabilities.
        seed: Integer, or None for a random one.

    Call arguments:
        images: Tensor `[b, height, width, c]`.
        training: Boolean. Whether locations are drawn.

    Output shape:
        Class scores (logits) `[b, num_classes]`.

    Parameters, for D = S p² c, hidden units k, glimpse units g, units h:
    (D + 1) k + 3 k + (2 k + 1) g + (g + h + 1) h + 3 (h + 1) + (h + 1) num_classes.

    References:
        - [Mnih et al., 2014](https://arxiv.org/abs/1406.6247)
    """

    def __init__(
        self,
        num_classes,
        num_glimpses,
        patch=12,
        num_scales=4,
        hidden_units=128,
        glimpse_units=256,
        units=256,
        location_std=0.1,
        reinforce_weight=1.0,
        baseline_weight=1.0,
        monte_carlo=1,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_classes = check_int("num_classes", num_classes, 2)
        self.num_glimpses = check_int("num_glimpses", num_glimpses, 2)
        self.patch = check_int("patch", patch)
        self.num_scales = check_int("num_scales", num_scales)
        self.hidden_units = check_int("hidden_units", hidden_units)
        self.glimpse_units = check_int("glimpse_units", glimpse_units)
        self.units = check_int("units", units)
        self.location_std = check_positive("location_std", location_std)
        self.reinforce_weight = check_positive("reinforce_weight", reinforce_weight)
        self.baseline_weight = check_positive("baseline_weight", baseline_weight)
        self.monte_carlo = check_int("monte_carlo", monte_carlo)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._drawn = None

        def dense(name, count, **arguments):
            return layers.Dense(count, name=name, **{"dtype": self.dtype_policy} | arguments)

        self.seen = dense("seen", hidden_units, activation="relu")
        self.place = dense("place", hidden_units, activation="relu")
        self.seen_to_glimpse = dense("seen_to_glimpse", glimpse_units)
        self.place_to_glimpse = dense("place_to_glimpse", glimpse_units, use_bias=False)
        self.glimpse_to_state = dense("glimpse_to_state", units)
        self.state_to_state = dense("state_to_state", units, use_bias=False)
        # In the variable dtype: half precision is too coarse for places.
        self.location = dense("location", 2, activation="tanh", dtype=self.variable_dtype)
        self.baseline = dense("baseline", 1, dtype=self.variable_dtype)
        self.classifier = dense("classifier", num_classes)

    def build(self, input_shape):
        *_, channels = check_images(self, input_shape)
        self.seen.build((None, self.num_scales * self.patch**2 * channels))
        self.place.build((None, 2))
        for layer in (self.seen_to_glimpse, self.place_to_glimpse):
            layer.build((None, self.hidden_units))
        self.glimpse_to_state.build((None, self.glimpse_units))
        for layer in (self.state_to_state, self.location, self.baseline, self.classifier):
            layer.build((None, self.units))

    def call(self, images, training=False):
        looks = self.monte_carlo if training else 1
        scores, _, drawn = self._look(images, looks, draw=training)
        self._drawn = (scores, *drawn) if training else None  # for `compute_loss`
        if looks == 1:
            return scores
        proportions = ops.log_softmax(ops.reshape(scores, (-1, looks, self.num_classes)))
        return ops.logsumexp(proportions, axis=1) - float(np.log(looks))

    def locations(self, images):
        """Where `images` are looked at, at inference: `[b, T, 2]`, rows and columns in pixels."""
        _, places, _ = self._look(images, looks=1, draw=False)
        return self._pixels(ops.stack(places, axis=1), images)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        drawn, self._drawn = self._drawn, None
        if drawn is None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        if len(y.shape) > 1 and y.shape[-1] != 1:
            raise ValueError(
                f"Expected the labels of '{self.name}' to be integers, one an image. "
                f"Received: labels of shape {tuple(y.shape)}"
            )
        scores, log_probs, baselines = drawn
        y = ops.repeat(ops.reshape(y, (-1,)), self.monte_carlo)
        if sample_weight is not None:
            sample_weight = ops.repeat(ops.reshape(sample_weight, (-1,)), self.monte_carlo)
        loss = super().compute_loss(x, y, scores, sample_weight, training)
        right = ops.equal(ops.cast(ops.argmax(scores, axis=-1), "int32"), ops.cast(y, "int32"))
        policy, error = reinforce(log_probs, baselines, ops.cast(right, baselines.dtype))
        extra = self.reinforce_weight * policy + self.baseline_weight * error
        if sample_weight is not None:
            extra = extra * ops.cast(sample_weight, extra.dtype)
        return loss + ops.mean(extra)

    def _look(self, images, looks, draw):
        """Scores `[b, classes]`, T locations, and log π `[b, T−1]`, baselines `[b, T−1]`.

        Each image is looked at `looks` times, b counting each.
        """
        levels, sizes = pyramid(images, self.patch, self.num_scales)
        if looks > 1:
            levels = ops.repeat(levels, looks, axis=0)
        b = ops.shape(levels)[0]
        state = ops.zeros((b, self.units), self.compute_dtype)
        place = ops.zeros((b, 2), self.variable_dtype)
        if draw:
            place = keras.random.uniform(
                (b, 2), -1, 1, self.variable_dtype, seed=self.seed_generator
            )
        places, log_probs, baselines = [place], [], []
        for t in range(self.num_glimpses):
            if t:
                before = ops.stop_gradient(state)
                place = mean = self.location(before)
                if draw:
                    noise = keras.random.normal((b, 2), dtype=mean.dtype, seed=self.seed_generator)
                    drawn = ops.stop_gradient(mean + self.location_std * noise)
                    # Its constant left out. What is drawn, not what is clipped, has this density.
                    error = ops.sum((drawn - mean) ** 2, axis=-1)
                    log_probs.append(-error / (2 * self.location_std**2))
                    baselines.append(self.baseline(before)[:, 0])
                    place = ops.clip(drawn, -1, 1)
                places.append(place)
            seen = retina(levels, sizes, self._pixels(place, images), self.patch)
            state = self._step(ops.reshape(seen, (b, -1)), place, state)
        drawn = (ops.stack(log_probs, 1), ops.stack(baselines, 1)) if draw else ()
        return self.classifier(state), places, drawn

    def _step(self, seen, place, state):
        glimpse = self.seen_to_glimpse(self.seen(seen)) + self.place_to_glimpse(self.place(place))
        state = self.glimpse_to_state(ops.relu(glimpse)) + self.state_to_state(state)
        return ops.relu(state)

    def _pixels(self, places, images):
        return (places + 1) / 2 * ops.cast([n - 1 for n in images.shape[1:3]], places.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0], self.num_classes

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "num_glimpses": self.num_glimpses,
            "patch": self.patch,
            "num_scales": self.num_scales,
            "hidden_units": self.hidden_units,
            "glimpse_units": self.glimpse_units,
            "units": self.units,
            "location_std": self.location_std,
            "reinforce_weight": self.reinforce_weight,
            "baseline_weight": self.baseline_weight,
            "monte_carlo": self.monte_carlo,
            "seed": self.seed,
        }
