"""Additive attention: scores by its equation, and what is read by them."""

import keras
import numpy as np

from baselines.additive_attention import AdditiveAttention, read


def test_scores_are_those_of_the_equation_and_reading_is_their_softmax_mean():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    elements, state = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 6))
    attention = AdditiveAttention(5)
    scores = np.array(attention(elements, state))
    e, c = (np.array(weight, "float64") for weight in attention.elements.weights)
    s, v = (np.array(layer.kernel, "float64") for layer in (attention.state, attention.score))
    expected = np.tanh(elements @ e + c + (state @ s)[:, None]) @ v[:, 0]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    proportions = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    np.testing.assert_allclose(
        read(keras.ops.cast(elements, "float32"), scores),
        (proportions[..., None] * elements).sum(1),
        rtol=1e-5,
        atol=1e-6,
    )
