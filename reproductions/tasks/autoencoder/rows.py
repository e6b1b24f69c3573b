"""Images read row by row: the likelihood of binary pixels, exact, by a recurrent network."""

import keras
import numpy as np
from keras import ops

from hyperkeras.layers import HyperLSTM, LayerNormLSTM


class Rows(keras.Model):
    r"""Binary images `[b, h, w, 1]` → logits of each pixel given those before it, as large.

    .. math:: p(x) = \prod_{r, c} p(x_{rc} \mid x_{<r}, x_{r, <c}), \qquad
        \operatorname{logit}_{rc} = V_c\, h_r + b_c + \sum_{c' < c} U_{c'c}\, x_{rc'}

    where h_r is a recurrent layer's output after the rows above r. So the cross-entropy of an image
    and its logits is the image's exact negative log likelihood.
    """

    variational = False

    def __init__(self, shape, recurrent, name=None):
        super().__init__(name=name)
        self.shape, (height, width, _) = tuple(shape), shape
        self.recurrent = recurrent
        self.above = keras.layers.Dense(width)
        self.left = self.add_weight(name="left", shape=(width, width), initializer="zeros")
        self.recurrent.build((None, height, width))
        self.above.build((None, height, recurrent.units))
        self.built = True

    def call(self, images, training=False):
        rows = images[..., 0]
        seen = ops.pad(rows[:, :-1], [[0, 0], [1, 0], [0, 0]])
        above = self.above(self.recurrent(seen, training=training))
        return (above + ops.matmul(rows, ops.triu(self.left, k=1)))[..., None]

    @property
    def kernels(self):
        """What pixels and states are multiplied by."""
        recurrent = self.recurrent.cell
        return [recurrent.kernel, recurrent.recurrent_kernel, self.above.kernel, self.left]


def dynamic(shape, units, hyper_units, embedding_dim):
    arguments = dict(hyper_units=hyper_units, embedding_dim=embedding_dim)
    return Rows(shape, HyperLSTM(units, return_sequences=True, **arguments), name="dynamic")


def recurrent(shape, units):
    return Rows(shape, LayerNormLSTM(units, return_sequences=True), name="recurrent")


MODELS = {"dynamic": dynamic, "recurrent": recurrent}


def drawn(network, count, rng):
    """`count` images from the model: each pixel is drawn given those before it."""
    images = np.zeros((count, *network.shape), "float32")
    for row, column in np.ndindex(*network.shape[:2]):
        logits = network.predict_on_batch(images)[:, row, column, 0]
        images[:, row, column, 0] = rng.random(count) < 1 / (1 + np.exp(-logits))
    return images
