"""The layers' equations in NumPy, float64, loops and all: nothing to go wrong."""

import itertools

import keras
import numpy as np
import reference_architectures


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def softplus(x):
    return np.logaddexp(0, np.asarray(x, "float64"))


def scale_means(raw, size, method="sigmoid"):
    last = np.array(size) - 1.0
    return sigmoid(raw) * last if method == "sigmoid" else np.clip(raw, 0, last)


def scale_sigmas(raw, size, min_sigma=0.0):
    return (softplus(np.asarray(raw) + 2) + min_sigma)[..., None] * np.array(size, "float64")


def neighbors(mean):
    """The 2**c floor/ceil tuples of one mean [c]."""
    ends = [(int(np.floor(m)), int(np.ceil(m))) for m in mean]
    return np.array(list(itertools.product(*ends)))


def duplicate_mask(tuples):
    """tuples [i, c] -> bool [i]."""
    seen, mask = set(), []
    for t in map(tuple, np.asarray(tuples).tolist()):
        mask.append(t in seen)
        seen.add(t)
    return np.array(mask)


def proportions(tuples, means, sigmas):
    """tuples [i, c], means and sigmas [k, c] -> [i, k]."""
    tuples, means, sigmas = (np.asarray(a, "float64") for a in (tuples, means, sigmas))
    exponent = -0.5 * ((tuples[:, None] - means) ** 2 / (1e-6 + sigmas)).sum(-1)
    exponent -= exponent.max(0)  # the normalizer divides it out again
    q = np.exp(exponent) * ~duplicate_mask(tuples)[:, None]
    return q / q.sum(0)


def dense(tuples, values, shape):
    """The weight tensor itself."""
    w = np.zeros(shape)
    for t, v in zip(np.asarray(tuples), np.asarray(values, "float64"), strict=True):
        w[tuple(t)] += v
    return w


def contract(tuples, values, x, target_shape):
    """tuples [b, i, r], values [b, i], x [b, *inputs, *carried] -> [b, *target, *carried]."""
    x = np.asarray(x, "float64")
    n = np.asarray(tuples).shape[-1] - len(target_shape)
    shape = (*target_shape, *x.shape[1 : 1 + n])
    rows = [
        np.tensordot(dense(t, v, shape), one, axes=n)
        for t, v, one in zip(tuples, values, x, strict=True)
    ]
    return np.stack(rows)


def box_grid(box, shape):
    """First and last of each axis, such as (vmin, vmax, hmin, hmax) -> means [points, axes]."""
    low, high = np.array(box)[0::2], np.array(box)[1::2]
    return np.array([low + np.array(i) / shape * (high - low) for i in np.ndindex(*shape)])


def source(layer, x):
    """(means, sigmas, values) of a source of the library without a network, from its weights."""
    kind = type(layer).__name__
    w = {v.name: v.numpy().astype("float64") for v in layer.weights}
    x = np.asarray(x, "float64")
    b, size = len(x), layer.size
    if kind == "FixedSource":
        means = np.repeat(layer.tuples[None].astype("float64"), b, axis=0)
        return means, np.zeros(means.shape), np.repeat(w["values"][None], b, axis=0)
    if kind == "FreeSource":
        raw_means, raw_sigmas = w["means"][None], w["sigmas"][None]
        values = w.get("values", np.ones(layer.num_tuples))[None]
        raw_means, raw_sigmas, values = (
            np.repeat(a, b, axis=0) for a in (raw_means, raw_sigmas, values)
        )
    else:
        raw = x.reshape(b, -1) @ w["kernel"]
    if kind == "DenseSource":
        c = len(size)
        raw = raw.reshape(b, layer.num_tuples, -1)
        raw_means, raw_sigmas = raw[..., :c] + w["means"], raw[..., c] + w["sigmas"]
        values = raw[..., c + 1] + w["values"] if "values" in w else np.ones(raw.shape[:2])
    if kind == "TopKSource":
        scores = raw + w["scores"]
        index = np.argsort(-np.abs(scores), axis=1)[:, : layer.num_tuples]
        means = np.stack(np.unravel_index(index, size), axis=-1).astype("float64")
        return means, np.zeros(means.shape), np.take_along_axis(scores, index, axis=1)
    if kind in ("BoxSource", "AffineSource"):
        place = _boxes if kind == "BoxSource" else _affine_grids
        means = place(raw.reshape(b, layer.num_glimpses, -1), size, layer.grid_shape)
        sigmas = scale_sigmas(w["sigmas"], size, layer.min_sigma) * layer.sigma_scale
        sigmas = np.repeat(sigmas, np.prod(layer.grid_shape), axis=0)
        return means, np.broadcast_to(sigmas, means.shape), np.ones(means.shape[:2])
    sigmas = scale_sigmas(raw_sigmas, size, layer.min_sigma) * layer.sigma_scale
    return scale_means(raw_means, size), sigmas, values


def _boxes(raw, size, shape):
    boxes = sigmoid(raw + np.array([-1, 1] * len(size))) * (np.repeat(size, 2) - 1)
    return np.stack([np.concatenate([box_grid(one, shape) for one in row]) for row in boxes])


def _affine_grids(raw, size, shape):
    d = len(size)
    matrices = raw.reshape(*raw.shape[:2], d, d + 1) + 0.5 * np.eye(d, d + 1)
    axes = [np.linspace(-1, 1, n) for n in shape]
    points = [[axis[i] for axis, i in zip(axes, at, strict=True)] for at in np.ndindex(*shape)]
    means = [np.array([m @ [*point, 1] for m in row for point in points]) for row in matrices]
    last = np.array(size) - 1
    return np.clip((np.stack(means) + 1) / 2 * last, 0, last)


def phm_kernel(layer):
    """The sum of Kronecker products, window by window."""
    rules, blocks = (w.numpy().astype("float64") for w in (layer.rules, layer.blocks))
    window = blocks.shape[1:-2]
    flat = blocks.reshape(len(rules), -1, *blocks.shape[-2:])
    kernels = [
        sum(np.kron(a, s) for a, s in zip(rules, at, strict=True)) for at in flat.swapaxes(0, 1)
    ]
    return np.stack(kernels).reshape(*window, *kernels[0].shape)


def convolution(x, kernel, strides, dilation, same):
    """x [b, h, w, c], kernel [m, n, c, o], one output pixel at a time."""
    size, window = np.array(x.shape[1:3]), np.array(kernel.shape[:2])
    reach = (window - 1) * dilation
    out = -(-(size if same else size - reach) // strides)
    total = np.maximum((out - 1) * strides + reach + 1 - size, 0) * same
    before = total // 2
    x = np.pad(x, [(0, 0), *zip(before, total - before, strict=True), (0, 0)])
    y = np.zeros((len(x), *out, kernel.shape[-1]))
    for i, j in np.ndindex(*out):
        for m, n in np.ndindex(*window):
            row, column = (np.array([i, j]) * strides + np.array([m, n]) * dilation).tolist()
            y[:, i, j] += x[:, row, column] @ kernel[m, n]
    return y


def plain_output(layer, x):
    """What the layers give that have no index tuples."""
    x = np.asarray(x, "float64")
    if type(layer).__name__ == "MIPEncoding":
        return np.concatenate([np.cos(np.pi * x / 2), np.sin(np.pi * x / 2)], axis=-1)
    if type(layer).__name__ == "Sine":
        return np.sin(layer.omega * x)
    kernel = phm_kernel(layer)
    if type(layer).__name__ == "PHMDense":
        y = x @ kernel
    else:
        strides, dilation = np.array(layer.strides), np.array(layer.dilation_rate)
        y = convolution(x, kernel, strides, dilation, layer.padding == "same")
    y = y if layer.bias is None else y + layer.bias.numpy().astype("float64")
    return np.tanh(y) if layer.activation.__name__ == "tanh" else y


def layer_output(layer, x, training):
    """What a layer gives, in training without anything drawn, from its weights."""
    if isinstance(layer, keras.Model):
        for part in layer.layers:
            if type(part).__name__ in reference_architectures.OUTPUTS:
                return reference_architectures.output(part, x)
        graphs = [one for one in layer.layers if hasattr(one, "position_kernel")]
        if graphs:
            return np.stack([graph_output(graphs[0], one, GRAPH_EDGES, training) for one in x])
        return sorted_by_keys(layer, x, training)
    if hasattr(layer, "generator"):
        return generated_output(layer, x)
    if hasattr(layer, "cell"):
        return recurrent_output(layer, x)
    if not hasattr(layer, "source"):
        return plain_output(layer, x)
    if hasattr(layer, "dilation"):
        return dilated_output(layer, x, training)
    return sparse_output(layer, x, training)


def sparse_output(layer, x, training):
    """What a SparseHyperlayer gives, in training without drawn samples, from its weights."""
    means, sigmas, values = source(layer.source, x)
    r, k = len(layer.full_size), means.shape[1]
    columns = list(range(r)) if layer.learned_columns is None else list(layer.learned_columns)
    template = np.zeros((k, r)) if layer.template is None else layer.template
    mu, sigma = np.empty((len(x), k, r)), np.zeros((len(x), k, r))
    mu[:] = template
    mu[..., columns], sigma[..., columns] = means, sigmas
    weights = []
    for m, s, v in zip(mu, sigma, values, strict=True):
        if not training:
            weights.append(dense(np.round(m).astype(int), v, layer.full_size))
            continue
        chunk, w = layer.chunk_size or k, np.zeros(layer.full_size)
        for a in range(0, k, chunk):
            here = slice(a, a + chunk)
            tuples = np.concatenate([neighbors(one) for one in m[here]])
            w += dense(tuples, proportions(tuples, m[here], s[here]) @ v[here], layer.full_size)
        weights.append(w)
    n = r - len(layer.target_shape)
    y = np.stack([np.tensordot(w, one, axes=n) for w, one in zip(weights, x, strict=True)])
    return y if layer.bias is None else y + layer.bias.numpy().astype("float64")


def dilated_output(layer, x, training):
    """What a convolution with a learned dilation gives, an output and a point at a time."""
    w = {v.name: v.numpy().astype("float64") for v in layer.weights}
    x, most = np.asarray(x, "float64"), layer.source.max_dilation
    sides, window = x.shape[1:-1], w["kernel"].shape[: x.ndim - 2]
    d = 1 + (most - 1) * sigmoid(w["dilation"])
    reach = np.array([(k - 1) * most for k in window])  # how much the input is padded, in all
    size = np.array(sides) + reach
    sigma = scale_sigmas(w["sigma"][None], size, layer.source.min_sigma) * layer.source.sigma_scale
    causal = layer.source.padding == "causal"
    y = np.zeros((*x.shape[:-1], layer.filters)) + w.get("bias", 0.0)
    for p in np.ndindex(*sides):
        for a in np.ndindex(*window):
            step = np.array(
                [i - (k - 1 if causal else k // 2) for i, k in zip(a, window, strict=True)]
            )
            mean = p + (d if training else np.round(d)) * step
            tuples = np.unique(neighbors(mean), axis=0)
            q = proportions(tuples, mean[None], sigma)[:, 0] if training else [1.0]
            for t, share in zip(tuples, q, strict=True):
                if ((t >= 0) & (t < sides)).all():  # around the input lie zeros
                    y[(slice(None), *p)] += share * x[(slice(None), *t)] @ w["kernel"][a]
    return np.tanh(y) if layer.activation.__name__ == "tanh" else y


def generate_kernel(z, w_in, b_in, w_out, b_out):
    """z [N_z] -> [f, f, N_in, N_out], an input channel and a filter at a time."""
    (_, n_in, d), (_, height, width, n_out) = w_in.shape, w_out.shape
    k = np.zeros((height, width, n_in, n_out))
    for i in range(n_in):
        a = [z @ w_in[:, i, j] + b_in[i, j] for j in range(d)]
        for y, x, o in np.ndindex(height, width, n_out):
            k[y, x, i, o] = a @ w_out[:, y, x, o] + b_out[y, x, o]
    return k


def coordinate_kernel(z, shape, w_c, w_z, b_1, w_2, b_2, w_3, b_3):
    """z [N_z] -> [f, f, N_in, N_out], a weight at a time."""
    k = np.zeros(shape)
    for index in np.ndindex(*shape):
        c = np.array(
            [2 * n / (s - 1) - 1 if s > 1 else 0 for n, s in zip(index, shape, strict=True)]
        )
        hidden = np.tanh(np.tanh(c @ w_c + z @ w_z + b_1) @ w_2 + b_2)
        k[index] = hidden @ w_3 + b_3
    return k


def dct_kernel(z, shape):
    """z [N_z] -> [f, f, N_in, N_out], a frequency at a time."""
    frequencies = sorted(
        np.ndindex(*shape),
        key=lambda m: (round(sum(a / s for a, s in zip(m, shape, strict=True)), 9), m),
    )
    k, places = np.zeros(shape), np.indices(shape)
    for value, m in zip(z, frequencies, strict=False):
        term = np.full(shape, value)
        for frequency, s, n in zip(m, shape, places, strict=True):
            norm = np.sqrt((1 if frequency == 0 else 2) / s)
            term = term * norm * np.cos(np.pi * frequency * (2 * n + 1) / (2 * s))
        k += term
    return k


def tile(generator, z):
    """The kernel that a generator makes of one embedding [N_z]."""
    weights = [w.numpy().astype("float64") for w in generator.weights]
    shape = generator.kernel_shape
    if type(generator).__name__ == "KernelGenerator":
        return generate_kernel(z, *weights)
    if type(generator).__name__ == "CoordinateGenerator":
        return coordinate_kernel(z, shape, *weights) / np.sqrt(np.prod(shape[:3]))
    return np.sqrt(shape[-1] / len(z)) * dct_kernel(z, shape)


def convolve(x, k, strides, dilation, padding):
    """x [b, h, w, c] with k [f, f, c, o], channels last."""
    size = [(f - 1) * step + 1 for f, step in zip(k.shape[:2], dilation, strict=True)]
    if padding == "same":
        out = [-(-n // s) for n, s in zip(x.shape[1:3], strides, strict=True)]
        missing = [
            max(0, (o - 1) * s + f - n)
            for o, s, f, n in zip(out, strides, size, x.shape[1:3], strict=True)
        ]
        x = np.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])
    out = [(n - f) // s + 1 for n, f, s in zip(x.shape[1:3], size, strides, strict=True)]
    y = np.zeros((len(x), *out, k.shape[-1]))
    for i, j in np.ndindex(*out):
        top, left = i * strides[0], j * strides[1]
        window = x[:, top : top + size[0] : dilation[0], left : left + size[1] : dilation[1]]
        y[:, i, j] = np.tensordot(window, k, axes=3)
    return y


def generated_output(layer, x):
    """What a HyperConv2D or HyperDense gives, from its weights and its generator's."""
    z = layer.embeddings.numpy().astype("float64")
    convolution = type(layer).__name__ == "HyperConv2D"
    tiles = [[tile(layer.generator, one) for one in row] for row in z]
    if not convolution:
        tiles = [[one.reshape(-1, one.shape[-1]) for one in row] for row in tiles]
    k = np.concatenate([np.concatenate(row, axis=-1) for row in tiles], axis=-2)
    if layer.kernel_constraint is not None:
        k = np.maximum(k, 0)
    x = np.asarray(x, "float64")
    if convolution:
        y = convolve(x, k, layer.strides, layer.dilation_rate, layer.padding)
    else:
        y = x @ k
    if layer.bias is not None:
        y = y + layer.bias.numpy()
    return np.tanh(y) if layer.activation.__name__ == "tanh" else y


# Recurrent layers


def layer_norm(x, gamma, beta):
    x = x - x.mean(-1, keepdims=True)
    return gamma * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3) + beta


def lstm_step(pre, c, w, noise=1.0, forget_bias=1.0):
    """Gates before layer norm, [4n] of one sample, and c [n] -> (h', c')."""
    i, f, g, o = np.split(pre, 4)
    if "gamma" in w:
        gates = zip((i, f, g, o), np.split(w["gamma"], 4), np.split(w["beta"], 4), strict=True)
        i, f, g, o = (layer_norm(*gate) for gate in gates)
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g) * noise
    seen = layer_norm(c, w["cell_gamma"], w["cell_beta"]) if "gamma" in w else c
    return sigmoid(o) * np.tanh(seen), c


def layer_norm_lstm_step(x, h, c, w):
    return lstm_step(x @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"], c, w)


def hyper_lstm_step(x, h, c, hyper_h, hyper_c, w, small):
    hyper_h, hyper_c = layer_norm_lstm_step(np.concatenate([x, h]), hyper_h, hyper_c, small)
    e = w["scale_kernel"].shape[1]
    z = hyper_h @ w["scale_embedding_kernel"] + w["scale_embedding_bias"]
    shift_z = hyper_h @ w["shift_embedding_kernel"]
    pre = []
    for y in range(4):
        dx = z[y * e : (y + 1) * e] @ w["scale_kernel"][y]
        dh = z[(4 + y) * e : (5 + y) * e] @ w["scale_kernel"][4 + y]
        beta = shift_z[y * e : (y + 1) * e] @ w["shift_kernel"][y]
        columns = slice(y * len(h), (y + 1) * len(h))
        pre.append(
            dx * (x @ w["kernel"][:, columns])
            + dh * (h @ w["recurrent_kernel"][:, columns])
            + w["bias"][columns]
            + beta
        )
    h, c = lstm_step(np.concatenate(pre), c, w)
    return h, c, hyper_h, hyper_c


def hyper_rnn_step(x, h, hyper_h, w, small):
    hyper_h = np.tanh(
        np.concatenate([x, h]) @ small["kernel"]
        + hyper_h @ small["recurrent_kernel"]
        + small["bias"]
    )
    zx, zh = np.split(hyper_h @ w["scale_embedding_kernel"] + w["scale_embedding_bias"], 2)
    wx, wh = w["kernel"], w["recurrent_kernel"]
    if "scale_kernel" in w:
        wx, wh = wx * (zx @ w["scale_kernel"][0]), wh * (zh @ w["scale_kernel"][1])
    else:
        wx, wh = wx @ zx, wh @ zh
    shift = hyper_h @ w["shift_embedding_kernel"] @ w["shift_kernel"][0]
    return np.tanh(x @ wx + h @ wh + w["bias"] + shift), hyper_h


def cell_weights(cell):
    """{name: array} of a recurrent cell's own weights."""
    inner = getattr(cell, "hyper_cell", None)
    others = {id(v) for v in inner.weights} if inner else set()
    return {v.name: v.numpy().astype("float64") for v in cell.weights if id(v) not in others}


def recurrent_output(layer, x):
    """All outputs of a recurrent layer without mask, forwards from zeros: [b, t, n]."""
    cell, outputs = layer.cell, []
    w, kind = cell_weights(cell), type(layer).__name__
    small = (cell_weights(cell.hyper_cell),) if hasattr(cell, "hyper_cell") else ()
    step = {
        "LayerNormLSTM": layer_norm_lstm_step,
        "HyperLSTM": hyper_lstm_step,
        "HyperRNN": hyper_rnn_step,
    }[kind]
    for sample in np.asarray(x, "float64"):
        states, row = [np.zeros(n) for n in cell.state_size], []
        for now in sample:
            states = step(now, *states, w, *small)
            row.append(states[0])
        outputs.append(row)
    outputs = np.array(outputs)
    return outputs if layer.return_sequences else outputs[:, -1]


def sorted_by_keys(model, x, training):
    """Elements with their keys, sorted by the keys, from a model of a Dense and a Quicksort."""
    layer = next(layer for layer in model.layers if hasattr(layer, "certainty"))
    (kernel,) = (w.numpy().astype("float64") for w in model.weights if "kernel" in w.name)
    with_keys = np.concatenate([x, x @ kernel], axis=-1)
    if training and layer.num_samples is None:
        o = CHOICES[layer.sigmoid]
        soft = [quicksort_matrix(keys, layer.certainty, o) for keys in with_keys[..., -1]]
        return np.stack(soft) @ with_keys
    order = np.argsort(with_keys[..., -1], axis=1)[..., None]
    return np.take_along_axis(with_keys, order, axis=1)


# A self-loop, both directions of an edge, a node that reads none.
GRAPH_EDGES = np.array([[0, 1], [1, 0], [1, 2], [2, 2], [0, 3], [0, 4], [3, 1], [1, 4]], "int32")


def graph_output(layer, x, edges, training, values=None):
    """Features [n, u] of one graph from a sparse graph layer, nothing drawn."""
    x, n = np.asarray(x, "float64"), len(x)
    w = {one.name: one.numpy().astype("float64") for one in layer.weights}
    values = np.ones(len(edges)) if values is None else values
    raw_positions = x @ w["position_kernel"]
    positions, k = sigmoid(raw_positions), raw_positions.shape[1]
    if "tuple_kernel" in w:
        mu, sigma, v = np.split(x @ w["tuple_kernel"] + w["tuple_bias"], 3, axis=1)
        mu, sigma = sigmoid(mu), softplus(sigma + 2) * layer.sigma_scale
        read = [x]
        for m in range(k):
            p, found = positions[:, m], np.zeros(x.shape)
            for i in range(n):
                worth = {int(j): a for (here, j), a in zip(edges, values, strict=True) if here == i}
                if m >= layer.neighbors:
                    worth = dict.fromkeys(beside(p, mu[i, m]), 1.0)
                near = {j: (abs(a), (p[j] - mu[i, m]) ** 2) for j, a in worth.items()}
                for j, q in gaussian_proportions(near, sigma[i, m], training).items():
                    found[i] += q * np.sign(worth[j]) * (1 + v[i, m]) * x[j]
            read.append(found)
        y = np.concatenate(read, axis=1) @ w["kernel"]
        return y + w["bias"] if "bias" in w else y
    y = np.zeros(x.shape)
    sent, received = np.split(x @ w["ends_kernel"], 2, axis=1)
    for (i, j), a in zip(edges, values, strict=True):
        hidden = np.tanh(sent[i] + received[j] + w["hidden_bias"])
        raw = (hidden @ w["head_kernel"] + w["head_bias"]).reshape(4, k)
        for m in range(k):
            p = positions[:, m]
            mu = [sigmoid(raw_positions[end, m] + raw[e, m]) for e, end in enumerate((i, j))]
            sigma, v = softplus(raw[2, m] + 2) * layer.sigma_scale, a * (1 + raw[3, m])
            ends = [[int(end), *beside(p, one)] for end, one in zip((i, j), mu, strict=True)]
            pairs = {(ends[0][0], ends[1][0]), *itertools.product(ends[0][1:], ends[1][1:])}
            if not training:  # each end by itself
                pairs = set(itertools.product(*ends))
            near = {
                pair: (1.0, sum((p[c] - one) ** 2 for c, one in zip(pair, mu, strict=True)))
                for pair in sorted(pairs)
            }
            for (s, t), q in gaussian_proportions(near, sigma, training).items():
                y[s] += q * v * x[t]
    return y


def beside(positions, mean):
    """The nodes next to the mean, below and above."""
    order = np.argsort(positions, kind="stable")
    below = max(int((positions <= mean).sum()) - 1, 0)
    return [int(order[below]), int(order[min(below + 1, len(order) - 1)])]


def gaussian_proportions(candidates, sigma, training):
    """{candidate: (mass, squared distance)} -> {candidate: share}, or all to the nearest."""
    kept = {c: pair for c, pair in candidates.items() if pair[0] > 0}
    if not kept:
        return {}
    nearest = min(d for _, d in kept.values())
    if training:
        weights = {c: m * np.exp((nearest - d) / 2 / (1e-6 + sigma)) for c, (m, d) in kept.items()}
    else:
        weights = {c: float(d == nearest) for c, (_, d) in kept.items()}
    return {c: one / sum(weights.values()) for c, one in weights.items()}


CHOICES = {"logistic": sigmoid, "cauchy": lambda z: 0.5 + np.arctan(z) / np.pi}


def quicksort_matrix(keys, certainty, choice=sigmoid):
    """keys [n] -> the soft permutation [n, n] with all choices in the balance, at every depth."""
    n = len(keys)
    whole, buckets = np.eye(n), [(0, n)]
    keys = np.asarray(keys, "float64")
    while any(size > 1 for _, size in buckets):
        step, halves = np.zeros((n, n)), []
        for start, size in buckets:
            here, lower = keys[start : start + size], size // 2
            halves += [(start, lower), (start + lower, size - lower)] if size > 1 else [(start, 1)]
            if size == 1:
                step[start, start] = 1
                continue
            ranked = np.sort(here)
            o = choice(certainty * (here - (ranked[lower - 1] + ranked[lower]) / 2))
            total = 0
            part = np.zeros((size, size))
            for above in itertools.combinations(range(size), size - lower):
                below = [i for i in range(size) if i not in above]
                p = np.prod(o[list(above)]) * np.prod(1 - o[below])
                total += p
                part[range(size), [*below, *above]] += p
            step[start : start + size, start : start + size] = part / total
        whole, keys, buckets = step @ whole, step @ keys, halves
    return whole
