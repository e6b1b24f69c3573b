"""Additive attention: which elements a state asks for."""

from keras import layers, ops


class AdditiveAttention(layers.Layer):
    """Scores of elements for a state (Bahdanau et al. 2015, arXiv 1409.0473).

    Maps elements [b, n, f] and states [b, h] to scores [b, n], v · tanh(E element + S state + c).

    Args:
        dim: Integer, how many numbers state and elements are compared by.
    """

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.elements, self.state = layers.Dense(dim), layers.Dense(dim, use_bias=False)
        self.score = layers.Dense(1, use_bias=False)

    def build(self, elements_shape, state_shape):
        self.elements.build(elements_shape)
        self.state.build(state_shape)
        self.score.build((*elements_shape[:2], self.elements.units))

    def call(self, elements, state):
        compared = ops.tanh(self.elements(elements) + self.state(state)[:, None])
        return self.score(compared)[..., 0]


def read(elements, scores):
    """The mean of elements [b, n, f], weighted by the softmax of scores [b, n]."""
    return ops.einsum("bn,bnf->bf", ops.softmax(scores), elements)
