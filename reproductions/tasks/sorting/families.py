"""What static and dynamic hypernetworks need to sort: generated kernels, and a pointer network."""

import keras
from keras import layers

from baselines.additive_attention import AdditiveAttention, read
from hyperkeras.layers import HyperConv2D, HyperLSTMCell, KernelGenerator

ops = keras.ops


def static_convolutions(shape, filters, embedding_dim, hidden_dim, precision):
    """Images → features: 3×3 kernels, all but the first made by one generator in 16×16 tiles."""
    generator = KernelGenerator((3, 3, 16, 16), embedding_dim, hidden_dim)
    images = x = keras.Input(shape)
    arguments = dict(padding="same", activation="relu", dtype=precision)
    x = layers.Conv2D(16, 3, **arguments)(x)
    for number in filters:
        x = HyperConv2D(number, 3, generator, **arguments)(x)
        x = layers.MaxPooling2D(2, dtype=precision)(x)
    return keras.Model(images, x, name="convolutions")


def cell(kind, units):
    """The pointer's cell: "dynamic" or "recurrent"."""
    if kind == "dynamic":
        return HyperLSTMCell(units, hyper_units=6, embedding_dim=2)
    return layers.LSTMCell(units)


class Pointer(layers.Layer):
    """Elements [b, n, f] → scores [b, place, element], by a recurrent cell (Vinyals et al. 2015).

    The cell takes a step for each place, whose scores compare its state with the elements. It reads
    a mean of the elements: at first of all of them, then weighted by the softmax of the scores of
    the place before. Elements that were pointed to have low scores. The softmax stands for the
    choice in training and later, so that no right order is fed back.

    Args:
        cell: A recurrent cell.
        dim: Integer, how many numbers state and elements are compared by.
    """

    def __init__(self, cell, dim, **kwargs):
        super().__init__(**kwargs)
        self.cell, self.attention = cell, AdditiveAttention(dim)

    def build(self, input_shape):
        batch, _, features = input_shape
        self.cell.build((batch, features))
        self.attention.build(input_shape, (batch, self.cell.units))

    def call(self, elements):
        states = self.cell.get_initial_state(ops.shape(elements)[0])
        seen = ops.mean(elements, axis=1)
        taken, all_scores = ops.zeros_like(elements[..., 0]), []
        for _ in range(elements.shape[1]):
            output, states = self.cell(seen, states)
            scores = self.attention(elements, output) + ops.log(1 - taken + 1e-4)
            taken = ops.minimum(taken + ops.softmax(scores), 1)
            seen = read(elements, scores)
            all_scores.append(scores)
        return ops.stack(all_scores, axis=1)


def generated_weights(network):
    """How many weights hypernetworks make: kernels, or the scales and shifts of a step."""
    convolutions = network.convolutions.layers
    kernels = [layer.kernel for layer in convolutions if isinstance(layer, HyperConv2D)]
    cell = getattr(network.head, "cell", None)
    rows = 12 * cell.units if isinstance(cell, HyperLSTMCell) else 0
    return sum(int(ops.size(kernel)) for kernel in kernels) + rows
