"""Encoders and decoders of computational graphs in NumPy, float64."""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _weights(layer):
    return [weight.numpy().astype("float64") for weight in layer.weights]


def _mlp(network, h):
    a, b, c, d = [weight for layer in network for weight in _weights(layer)]
    return relu(relu(h @ a + b) @ c + d)


def _gru(cell, m, h):
    kernel, recurrent, bias = _weights(cell)
    u = len(h)
    x, r = m @ kernel + bias[0], h @ recurrent + bias[1]
    update, reset = sigmoid(x[:u] + r[:u]), sigmoid(x[u : 2 * u] + r[u : 2 * u])
    return update * h + (1 - update) * np.tanh(x[2 * u :] + reset * r[2 * u :])


def gated(encoder, nodes):
    """A GatedGraphEncoder on a chain, whose nodes are an edge apart."""
    h = nodes.astype("float64").copy()
    limit = encoder.virtual_edges or 0
    for reverse in (False, True) * encoder.rounds:
        order = range(len(h))[:: -1 if reverse else 1]
        for v in order:
            earlier = range(v + 1, len(h)) if reverse else range(v)
            m = np.zeros(h.shape[1])
            for u in earlier:
                s = abs(u - v)
                m += _mlp(encoder.message, h[u]) * (s == 1)
                if 1 <= s <= limit:
                    m += _mlp(encoder.virtual_message, h[u]) / s
            h[v] = _gru(encoder.update, m, h[v])
    if not encoder.normalize:
        return h
    gamma, beta = (weight.numpy().astype("float64") for weight in (encoder.gamma, encoder.beta))
    centred = h - h.mean(-1, keepdims=True)
    return gamma * centred / np.sqrt(h.var(-1, keepdims=True) + 1e-3) + beta


def flat(encoder, nodes):
    """A FlatEncoder on one graph."""
    n, d = nodes.shape
    code = np.zeros((encoder.max_nodes, d))
    code[:n] = nodes
    (a, b), (c, e) = _weights(encoder.code), _weights(encoder.positions)
    return (relu(code.reshape(-1) @ a + b) @ c + e).reshape(-1, d)[:n]


def matrix(decoder, features):
    """The numbers of a MatrixDecoder for one node, kernels and then vectors."""
    kernel, bias = _weights(decoder.positions)
    positions = relu(np.einsum("d,dsk->sk", features, kernel) + bias)
    for layer, activation in ((decoder.hidden_layer, relu), (decoder.matrix, lambda x: x)):
        w, b = _weights(layer)
        positions = activation(positions @ w + b)
    (a, b), (c, e) = _weights(decoder.vector_hidden), _weights(decoder.vector)
    return np.concatenate([positions.reshape(-1), relu(features @ a + b) @ c + e])


OUTPUTS = {"GatedGraphEncoder": gated, "FlatEncoder": flat, "MatrixDecoder": matrix}


def output(layer, x):
    """What such a layer gives for each of a batch."""
    return np.stack([OUTPUTS[type(layer).__name__](layer, one) for one in x])
