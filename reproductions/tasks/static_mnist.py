"""Classifying digits: a convolution kernel generated from four numbers against a trained one.

The experiment is that of Ha, Dai & Le (2016). A network has two 7×7 convolutions of 16 channels,
each with max pooling, and a dense layer. `hyper` generates the 12,544 weights of the second
convolution from an embedding of four numbers, by a generator of 4,240 weights. `hyper_2` and
`hyper_1` have embeddings of two numbers and of one. `dense_N` has N channels in both convolutions,
so that dense and generated kernels can be compared at like parameter counts. `hyper_coordinates`
computes each weight from its place, as HyperNEAT does, and `hyper_dct` from low frequencies. Both
have about as many parameters as `hyper`, and make neighboring channels alike.
"""

import numpy as np

from reproductions.engine import training
from reproductions.engine.display import Display, Headline
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = (
    *("dense", "hyper", "hyper_coordinates", "hyper_dct"),
    *("dense_12", "dense_11", "dense_10", "hyper_2", "hyper_1"),
)
METRICS = {"accuracy": "max"}
DATA = {
    "digits": "scikit-learn's 8×8 digits, enlarged to 16×16; needs no files",
    "mnist": "MNIST, by tensorflow-datasets or from its four files",
}
SMALL = dict(data="digits", batch=64, learning_rate=0.005, average=0.98, stretch=2)
PRESETS = {
    "smoke": SMALL | dict(models=MODELS[:4], seeds=1, epochs=2, steps=2, batch=8, decay=0.9),
    "quick": SMALL | dict(seeds=3, epochs=20, steps=18, decay=0.992),
    "full": dict(
        data="mnist",
        seeds=1,
        more_seeds=dict(dense=3, hyper=3),
        epochs=50,
        steps=55,
        batch=1000,
        learning_rate=0.005,
        decay=0.999,
        average=0.995,
        stretch=2,
    ),
}
SEARCH = {
    "*": dict(
        learning_rate=Range(low=5e-4, high=5e-2, log=True),
        average=Range(low=0.9, high=0.999),
        stretch=Range(low=1, high=3),
    )
}
EMBEDDING, COORDINATES, COSINES = 4, 60, 4244
NOTEBOOK = dict(metric="accuracy", source="the authors' notebook", notes=(1, 2))
PAPER = dict(metric="accuracy", source="the paper", notes=(1, 2))
PUBLISHED = (
    NOTEBOOK | dict(model="dense", value=0.9923),
    PAPER | dict(model="dense", value=0.9928),
    NOTEBOOK | dict(model="hyper", value=0.9921),
    PAPER | dict(model="hyper", value=0.9924),
)
DEVIATIONS = (
    "Weights start otherwise: kernels with He's variance, generated ones, too, and the dense layer "
    "by Glorot; in the notebook kernels start at 0.01 and smaller. Gradients are not clipped; the "
    "notebook clips at a norm of 100. Tested are the weights' averages over the steps, with a "
    "momentum of 0.995, for both kinds: the rate's end is high enough for the last weights to err "
    "by a tenth of a point more.",
    "As in the notebook, images are stretched by two rows and columns and cropped, and 5,000 of "
    "the training images are for validation, but not the same ones. The rate's floor of 1e-4 is "
    "not reached in 50 epochs.",
)


def data(name, config, data_dir):
    from reproductions.data import image_batches
    from reproductions.data import images as sources

    splits = sources.digits(2) if name == "digits" else sources.mnist(data_dir)

    def augment(rng, x):
        return image_batches.stretched(rng, x, config["stretch"])

    return image_batches.Images(splits, config["batch"], config["steps"], augment)


def build(model, config, data):
    import keras
    from keras import layers

    kind, _, number = model.rpartition("_")
    channels = int(number) if kind == "dense" else 16
    arguments = dict(padding="same", activation="relu", kernel_initializer="he_normal")
    network = keras.Sequential(
        [
            keras.Input(data.valid[0].shape[1:]),
            layers.Conv2D(channels, 7, **arguments, name="first"),
            layers.MaxPooling2D(2),
            second_convolution(model, channels),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10, name="scores"),
        ],
        name=model,
    )
    rate = keras.optimizers.schedules.ExponentialDecay(config["learning_rate"], 1, config["decay"])
    adam = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=config["average"])
    training.compile_classifier(network, adam)
    return network


def second_convolution(model, channels):
    import keras

    from hyperkeras import layers

    arguments = dict(padding="same", activation="relu", name="second")
    if model.startswith("dense"):
        return keras.layers.Conv2D(channels, 7, kernel_initializer="he_normal", **arguments)
    shape, kind = (7, 7, channels, channels), model.removeprefix("hyper").removeprefix("_")
    if kind == "coordinates":
        generator = layers.CoordinateGenerator(shape, EMBEDDING, COORDINATES)
    elif kind == "dct":
        generator = layers.DCTGenerator(shape, COSINES)
    else:
        generator = layers.KernelGenerator(shape, int(kind or EMBEDDING))
    return layers.HyperConv2D(channels, 7, generator, **arguments)


def generated(network):
    layer = network.get_layer("second")
    return int(np.prod(layer.kernel.shape)) if hasattr(layer, "generator") else 0


def draw(network, data, config, path, traces):
    """The second convolution's kernel, trained or generated: a row an input channel."""
    from matplotlib.figure import Figure

    kernel = np.array(network.get_layer("second").kernel)  # [7, 7, in, out]
    padded = np.pad(kernel, [(0, 1), (0, 1), (0, 0), (0, 0)], constant_values=np.nan)
    picture = padded.transpose(2, 0, 3, 1).reshape(8 * kernel.shape[2], -1)[:-1, :-1]
    reach = np.quantile(np.abs(kernel), 0.99)
    figure = Figure(figsize=(4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(picture, cmap="RdBu", vmin=-reach, vmax=reach)
    word = "generated" if hasattr(network.get_layer("second"), "generator") else "trained"
    axes.set(title=f"{network.name}: {word}", xlabel="output channel", ylabel="input channel")
    axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)


def plot(records, path):
    from reproductions.plots import classification_error

    classification_error.errors(records, path)


TASK = Task(
    name="static_mnist",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    search=SEARCH,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="dense",
            ours="hyper",
            what="MNIST, second kernel from four numbers: accuracy",
        ),
        families={"static": ("hyper*",)},
    ),
    data=data,
    build=build,
    generated=generated,
    draw=draw,
    plot=plot,
)
