"""Compressing images to a few numbers: dense autoencoders against hypernetworks.

This is the first experiment of the 2017 draft of the sparse adaptive hyperlayer, which gives no
numbers. Its claims are that a sparse adaptive autoencoder is as good as a dense one with as many
parameters and weights, and that its wiring is a kind of attention.

`sparse` has a small canvas between the image and its dense layers. One sparse layer reads the
canvas from the image, at places that depend on the image. Another one writes the canvas into the
reconstruction, at places that depend on the code. Both place their tuples by affine maps. `dense`
has nearly as many parameters, and nearly as many weights: numbers by which pixels and the code are
multiplied, in the column `weights`. Models whose names end in `_vae` are variational.
`sparse_free` follows the draft literally: sparse layers replace the outer dense layers, and each
tuple moves by itself. `dense_few` has as many weights as `sparse_free`. On the small digits neither
of the two is of use: `dense_few` draws nearly the same mean image for all.

In `static`, variational too, the code of each image generates the weights of a small network that
maps a pixel's place to its shade. `dynamic` has no code: a HyperLSTM reads an image row by row, and
each pixel is predicted from the rows above and the pixels to the left. `recurrent` is the same with
the LSTM that the HyperLSTM changes, layer norm included.

`nats` is the cross-entropy of an image given its reconstruction. For variational models it is the
negative evidence bound, with each pixel drawn as 0 or 1 [1]. `nats_64` is a closer bound on the
likelihood (Burda et al. 2016, 64 draws, 1000 images). `dynamic` and `recurrent` see the same drawn
pixels, and have both figures exactly. `tuples_on_ink` is the fraction of the first layer's tuples
on pixels of at least 0.5, and `ink` is the fraction of such pixels.
"""

from functools import cache

import numpy as np

from reproductions.engine.display import Display, Headline, Matrix
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = (
    *("dense", "sparse", "dense_vae", "static", "sparse_vae"),
    *("dynamic", "recurrent", "sparse_free", "dense_few"),
)
VARIATIONAL = ("dense_vae", "static", "sparse_vae")
EXACT = ("dynamic", "recurrent")
FAMILIES = ("dense_vae", "static", "dynamic", "sparse_vae", "recurrent")
METRICS = {
    **dict.fromkeys(("nats", "mse", "nats_64", "weights"), "min"),
    **dict.fromkeys(("tuples_on_ink", "ink"), "max"),
}
DATA = {
    "digits": "scikit-learn's 8×8 digits, smoothly enlarged to 16×16; needs no files",
    "mnist": "MNIST, by tensorflow-datasets or from its four files",
}
DIGITS = dict(data="digits", latent=8, batch=64, learning_rate=0.005)
PRESETS = {
    "smoke": DIGITS | dict(seeds=1, epochs=1, steps=2, batch=8, tested=40, draws=2),
    "demo": DIGITS | dict(models=FAMILIES, seeds=1, epochs=8, steps=50),
    "quick": DIGITS
    | dict(seeds=3, more_seeds=dict(sparse_free=1, dense_few=1), epochs=30, steps=50),
    "full": dict(
        data="mnist",
        latent=16,
        batch=128,
        learning_rate=0.003,
        seeds=3,
        more_seeds=dict(sparse_free=1, dense_few=1),
        epochs=12,
        steps=400,
    ),
}
SEARCH = {"*": dict(learning_rate=Range(low=5e-4, high=3e-2, log=True))}
# Hidden units, and settings of the wiring, by which sizes match: of 28×28 and of 16×16 pixels.
LARGE = {
    "dense": dict(hidden=66),
    "dense_vae": dict(hidden=67),
    "sparse": dict(hidden=120, side=20, features=16, fine=3),
    "sparse_vae": dict(hidden=120, side=20, features=16, fine=3),
    "sparse_free": dict(hidden=64, tuples=576, features=16),
    "dense_few": dict(hidden=2),
    "static": dict(hidden=67, body=64, frequencies=32, units=12),
    "dynamic": dict(units=114, hyper_units=32, embedding_dim=8),
    "recurrent": dict(units=145),
}
TINY = {
    "dense": dict(hidden=33),
    "dense_vae": dict(hidden=34),
    "sparse": dict(hidden=76, side=10, features=8, fine=2),
    "sparse_vae": dict(hidden=76, side=10, features=8, fine=2),
    "sparse_free": dict(hidden=32, tuples=272, features=8),
    "dense_few": dict(hidden=2),
    "static": dict(hidden=34, body=32, frequencies=16, units=8),
    "dynamic": dict(units=40, hyper_units=16, embedding_dim=4),
    "recurrent": dict(units=56),
}
INK = 0.5
DEVIATIONS = (
    "`nats` are an upper bound of the negative log likelihood in models whose code is drawn "
    "(`dense_vae`, `static`, `sparse_vae`), with one draw for each image; "
    "`nats_64` is closer. They are exact in `dynamic` and `recurrent`. In `dense`, `sparse`, "
    "`sparse_free` and `dense_few` they are no likelihood of an image: the code is not paid for, "
    "and pixels have shades of gray. So only the figures of binary pixels can be compared.",
)


def configurations(model, preset, data):
    sizes = (TINY if data == "digits" else LARGE)[model]
    settings = PRESETS[preset] | sizes | dict(variational=model in VARIATIONAL)
    if model in EXACT:  # they have no code
        settings = {key: value for key, value in settings.items() if key != "latent"}
        settings["binary"] = True
    return [settings]


class Copies:
    """Batches (x, x) of images; with `binary`, each pixel is drawn as 0 or 1 by its value."""

    def __init__(self, splits, batch, steps, binary):
        self.images = {split: x for split, (x, _) in splits.items()}
        self.batch, self.steps, self.binary = batch, steps, binary
        self.valid, self.test = (self.fixed(split) for split in ("valid", "test"))

    def draw(self, rng, x):
        return (rng.random(x.shape, "float32") < x).astype("float32") if self.binary else x

    def fixed(self, split):
        x = self.draw(np.random.default_rng(7), self.images[split])
        return x, x

    def train(self, seed, epoch):
        rng = np.random.default_rng([11, seed, epoch])
        for _ in range(self.steps):
            x = self.images["train"]
            x = self.draw(rng, x[rng.integers(0, len(x), self.batch)])
            yield x, x


def data(name, config, data_dir):
    from reproductions.data import images as sources

    splits = enlarged(sources.digits(1)) if name == "digits" else sources.mnist(data_dir)
    binary = config.get("binary", config["variational"])
    return Copies(splits, config["batch"], config["steps"], binary)


def enlarged(splits):
    """Images of twice the size, smooth: copied pixels have edges that an affine map must blur."""
    import keras

    def double(x):
        size = 2 * x.shape[1], 2 * x.shape[2]
        return np.array(keras.ops.image.resize(x, size, data_format="channels_last"))

    return {split: (double(x), y) for split, (x, y) in splits.items()}


def build(model, config, data):
    import keras

    from reproductions.tasks.autoencoder import networks

    network = networks.autoencoder(
        model,
        config["variational"],
        data.valid[0].shape[1:],
        **{key: config[key] for key in ("latent", *LARGE[model]) if key in config},
    )
    steps = config["epochs"] * config["steps"]
    rate = keras.optimizers.schedules.CosineDecay(config["learning_rate"], steps)
    network.compile(keras.optimizers.Adam(rate), networks.cross_entropy, jit_compile=False)
    return network


def evaluate(network, x, y, config, seed=13):
    """Means over images; a variational model's code is drawn once for `nats`."""
    from reproductions.tasks.autoencoder import networks

    logits = network.predict(x, batch_size=250, verbose=0)
    mse = np.mean((shades(logits) - x) ** 2)
    if not network.variational:
        return {"nats": np.mean(networks.cross_entropy(x, logits)), "mse": mse}
    terms = log_weights(network, x, 1, seed)
    return {"nats": -np.mean(terms), "mse": mse}


def log_weights(network, x, draws, seed):
    """log p(x, z) / q(z | x), [n, draws], for codes z drawn from q (Burda et al. 2016)."""
    from reproductions.likelihoods import diagonal_gaussian
    from reproductions.tasks.autoencoder import networks

    rng, batches = np.random.default_rng(seed), []
    decode = network.decoder.predict_on_batch
    for start in range(0, len(x), 250):
        images = x[start : start + 250]
        mean, log_deviation = (np.array(t) for t in network.code(images))
        terms = []
        for _ in range(draws):
            noise = rng.standard_normal(mean.shape).astype("float32")
            z = mean + np.exp(log_deviation) * noise
            prior = diagonal_gaussian.normal_nats(z, 0.0, np.zeros_like(z))
            ratio = diagonal_gaussian.normal_nats(z, mean, log_deviation) - prior
            terms.append(np.array(ratio - networks.cross_entropy(images, decode(z))))
        batches.append(np.stack(terms, axis=1))
    return np.concatenate(batches)


def transfer(network, model, data, config):
    """What is no loss: the closer bound, the number of weights, where the tuples sit."""
    from reproductions.tasks.autoencoder import networks

    x = data.test[0][: config.get("tested", 1000)]
    figures = {"nats_64": None, "weights": float(networks.weights(network))}
    if model in EXACT:
        figures["nats_64"] = float(evaluate(network, x, x, config)["nats"])
    if network.variational:
        terms = log_weights(network, x, config.get("draws", 64), seed=17).astype("float64")
        most = terms.max(axis=1, keepdims=True)
        bound = np.log(np.mean(np.exp(terms - most), axis=1)) + most[:, 0]
        figures["nats_64"] = float(-np.mean(bound))
    ink = x[..., 0] >= INK
    sites = networks.places(network, x)
    figures["tuples_on_ink"] = None
    if sites is not None:
        rows, columns = np.moveaxis(sites, -1, 0)
        figures["tuples_on_ink"] = float(ink[np.arange(len(ink))[:, None], rows, columns].mean())
    return figures | {"ink": float(ink.mean())}


def generated(network):
    from reproductions.tasks.autoencoder import networks

    return networks.generated_weights(network)


def draw(network, data, config, path, traces):
    """Test images with the tuples that read them, what is made of them, and drawn images."""
    from matplotlib.figure import Figure

    from reproductions.tasks.autoencoder import networks, rows

    x, rng = data.test[0][:8], np.random.default_rng(0)
    sites = networks.places(network, x)
    exact = isinstance(network, rows.Rows)
    lines = {"image" if sites is None else "image, tuples": x}
    lines["from those before" if exact else "reconstruction"] = shades(
        network.predict(x, verbose=0)
    )
    if exact:
        lines["drawn"] = rows.drawn(network, 8, rng)
    elif network.variational:
        z = rng.standard_normal((8, config["latent"])).astype("float32")
        lines["drawn"] = shades(network.decoder.predict(z, verbose=0))
    figure = Figure(figsize=(8, 1.1 * len(lines) + 0.3), layout="constrained")
    axes = figure.subplots(len(lines), 8)
    for row, (name, images) in enumerate(lines.items()):
        for column, image in enumerate(images[..., 0]):
            axes[row, column].imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name, fontsize=8)
    for column, points in enumerate(sites if sites is not None else ()):
        axes[0, column].scatter(points[:, 1], points[:, 0], s=1, color="C3", linewidths=0)
    figure.savefig(path, dpi=100)


def shades(logits):
    return 1 / (1 + np.exp(-logits.astype("float64")))


def nats_of_means(config):
    """Nats of binary digits whose pixels are drawn by their means over the training images.

    None for other images, which would have to be read for it.
    """
    return _nats_of_means() if config["batch"] == DIGITS["batch"] else None


@cache
def _nats_of_means():
    images = data("digits", PRESETS["smoke"] | {"variational": True}, None)
    mean = np.clip(images.images["train"].mean(axis=0, dtype="float64"), 1e-6, 1 - 1e-6)
    x, _ = images.test
    return float(-np.sum(np.log(np.where(x > 0.5, mean, 1 - mean)), axis=(1, 2, 3)).mean())


TASK = Task(
    name="autoencoder",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    deviations=DEVIATIONS,
    search=SEARCH,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="dense",
            ours="sparse",
            what="MNIST through 16 numbers: cross-entropy in nats (lower is better)",
        ),
        matrix=Matrix(
            what="binary images: nats, a bound or exact",
            models={"dense": "dense_vae", "sparse": "sparse_vae"},
            chance=nats_of_means,
        ),
        families={"static": ("static",), "dynamic": ("dynamic",), "sparse": ("sparse*",)},
        compared=(("dense", "sparse"), (*VARIATIONAL, *EXACT), ("sparse_free", "dense_few")),
        only={"nats_64": (*VARIATIONAL, *EXACT), "tuples_on_ink": ("sparse*",)},
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    generated=generated,
    transfer=transfer,
    draw=draw,
)
