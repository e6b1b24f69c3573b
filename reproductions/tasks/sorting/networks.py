"""The sorting task's network: a conv net for each image, and what sorts by its numbers."""

import keras
import numpy as np
from keras import layers

from baselines import sorting
from hyperkeras import ops as hyper
from hyperkeras.layers import Quicksort
from reproductions.tasks.sorting import families

ops = keras.ops
SCORES = ("row_stochastic", "sinkhorn", "gumbel_sinkhorn")  # an n × n matrix for one n, no keys
# What the models of the matrix sort by: of the published relaxations the best one in `full`.
METHODS = {"dense": "row_stochastic", "static": "neural_sort_stochastic"}
METHODS |= dict.fromkeys(("dynamic", "recurrent"), "pointer")
DRAWN = ("quicksort_published", "quicksort_sampled")  # choices; the others take the mean of all
# Of `sort_log_likelihood`.
LIKELIHOODS = {
    "quicksort_likelihood": {},
    "quicksort_random": dict(pivots="random"),
    "quicksort_cauchy": dict(sigmoid="cauchy"),
}
STEPS = 20  # iterations of Sinkhorn's


class Sorter(keras.Model):
    """Maps images [p, h, w, 1] and sets of them [b, n] to keys [b, n], or scores [b, n, n].

    Scores are of the methods in `SCORES` and of pointers. Labels are numbers [b, n], of which the
    order alone is used. Sets [b, n, d] are of numbers put together from the images' digits, d an
    image: digit k of image i is i * d + k.
    """

    def __init__(
        self,
        model,
        size,
        image_shape,
        filters,
        units,
        strength,
        samples,
        precision,
        generator=None,
        cell_units=None,
    ):
        super().__init__(name=model)
        self.method = method = METHODS.get(model, model)
        self.size, self.strength, self.samples = size, strength, samples
        count = {"row_stochastic": units, "sinkhorn": size, "gumbel_sinkhorn": size}
        count["pointer"] = units
        if model == "static":
            self.convolutions = families.static_convolutions(
                image_shape, filters, *generator, precision
            )
        else:
            self.convolutions = _conv_net(image_shape, filters, precision)
        self.hidden = layers.Dense(units, activation="relu", dtype=precision)
        images = keras.Input(image_shape)
        x = layers.Flatten(dtype=precision)(self.convolutions(images))
        self.last = layers.Dense(count.get(method, 1))
        self.image = keras.Model(images, self.last(self.hidden(x)), name="image")
        self.head = None
        if method == "row_stochastic":
            whole = layers.Dense(units * 2, activation="relu")
            self.head = keras.Sequential(
                [keras.Input((size * units,)), layers.ReLU(), whole, layers.Dense(size**2)]
            )
        elif method == "pointer":
            self.head = families.Pointer(families.cell(model, cell_units), units)
            self.head.build((None, size, units))
        self.seeds = keras.random.SeedGenerator()
        published = method == "quicksort_published"
        self.quicksort = Quicksort(
            samples if method in DRAWN else None,
            strength,
            "uniform" if published else "logistic",
            joint=published,
            sigmoid=LIKELIHOODS.get(method, {}).get("sigmoid", "logistic"),
        )
        self.build([(None, *image_shape), (None, size)])

    def build(self, input_shape):
        self.built = True

    def call(self, inputs):
        images, sets = inputs
        if len(sets.shape) == 3:
            return self.scores(self.recombined(images, sets))
        return self.scores(ops.take(self.image(images), sets, axis=0))

    def recombined(self, images, sets):
        """What `image` gives for numbers put together anew, `[b, n, f]`.

        Each digit keeps its columns of features, into which its first neighbors reach a little.
        The hidden layer is linear in them: what each digit adds in each place is computed once.
        """
        x, digits = self.convolutions(images), sets.shape[2]
        _, rows, columns, channels = x.shape
        parts = rows, digits, columns // digits, channels
        kernel = ops.reshape(ops.cast(self.hidden.kernel, x.dtype), (*parts, -1))
        # From digit d to place e.
        added = ops.einsum("prdcf,recfu->pdeu", ops.reshape(x, (-1, *parts)), kernel)
        added = ops.reshape(added, (-1, added.shape[-1]))
        chosen = ops.take(added, sets * digits + ops.arange(digits, dtype=sets.dtype), axis=0)
        x = ops.sum(chosen, axis=2) + ops.cast(self.hidden.bias, x.dtype)
        return self.last(ops.relu(x))

    def scores(self, features):
        """Keys, or scores, of the images' numbers `[b, n, f]`."""
        if self.method == "row_stochastic":
            flat = ops.reshape(features, (-1, self.size * features.shape[-1]))
            return ops.reshape(self.head(flat), (-1, self.size, self.size))
        if self.method == "pointer":
            return self.head(features)
        if self.method in SCORES:
            return ops.swapaxes(features, 1, 2)  # [b, place, element]
        return features[..., 0]

    def places(self, scores):
        """Which element comes i-th, `[b, n]`, without chance."""
        if self.method in ("row_stochastic", "pointer"):
            return np.argmax(scores, axis=-1)
        if self.method in SCORES:
            return np.argmax(sorting.sinkhorn(scores, self.strength, STEPS), axis=-1)
        return np.argsort(scores, axis=1, kind="stable")

    def matrix(self, scores):
        """The soft permutation of training, `[b, n, n]` or `[b, samples, n, n]`."""
        if self.method in ("row_stochastic", "pointer"):
            return ops.softmax(scores)
        if self.method == "sinkhorn":
            return sorting.sinkhorn(scores, self.strength, STEPS)
        if self.method == "gumbel_sinkhorn":
            return sorting.gumbel_sinkhorn(scores, self.strength, STEPS, seed=self.seeds)
        if self.method == "neural_sort":
            return sorting.neural_sort(scores, self.strength)
        if self.method == "neural_sort_stochastic":
            return sorting.neural_sort_stochastic(scores, self.strength, self.samples, self.seeds)
        if self.method == "soft_sort":
            return sorting.soft_sort(scores, self.strength)
        if self.method == "diffsort":
            return sorting.network_sort(scores, self.strength)[0]
        if self.method == "fast_rank":
            return ops.one_hot(ops.argsort(scores), self.size)  # it has no soft one
        return self.quicksort(self._identities(scores), scores, training=True)[0]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        order = ops.argsort(y)
        if self.method == "fast_rank":
            ranks = ops.cast(ops.argsort(order) + 1, y_pred.dtype)
            return ops.mean((sorting.fast_rank(y_pred, self.strength) - ranks) ** 2)
        if self.method in LIKELIHOODS:
            keys, way = ops.take_along_axis(y_pred, order, axis=1), LIKELIHOODS[self.method]
            likelihood = hyper.sort_log_likelihood(keys, self.strength, **way)
            return -ops.mean(likelihood) / self.size
        truth = ops.one_hot(order, self.size)  # [b, place, element]
        if self.method == "quicksort_depths":
            elements = self._identities(y_pred)
            *_, stages, goals = self.quicksort(elements, y_pred, truth, training=True)
            return self.size * ops.mean((stages - goals) ** 2)
        matrix = self.matrix(y_pred)
        if self.method == "quicksort_published":
            return self.size * ops.mean((matrix - truth) ** 2)
        truth = truth if len(matrix.shape) == 3 else truth[:, None]
        return -ops.mean(ops.sum(truth * ops.log(matrix + 1e-6), axis=-1))

    def _identities(self, keys):
        return ops.ones_like(keys)[..., None] * ops.eye(keys.shape[1])


def _conv_net(shape, filters, precision):
    """The convolutions of the sorting papers, 5×5 each."""
    images = x = keras.Input(shape)
    for number in filters:
        x = layers.Conv2D(number, 5, padding="same", activation="relu", dtype=precision)(x)
        x = layers.MaxPooling2D(2, dtype=precision)(x)
    return keras.Model(images, x, name="convolutions")
