"""Fields that a network predicts from the image: does an encoder help that was trained before?

A transformer reads an image's patches and writes the weights of a coordinate network that shows the
image (Trans-INR). Gu & Yeung-Levy (2025) put a pre-trained foundation model in the transformer's
place. Here is a small form of that: the encoder has been trained on other images, to fill in hidden
patches. It is no foundation model, so that nothing is said about those.

* `scratch` trains everything;
* `fine_tuned` trains everything, from the encoder that was trained before;
* `frozen` keeps that encoder as it is, and trains weight tokens, heads and base weights;
* `frozen_random` does so with an encoder that was never trained: what freezing costs by itself.

`psnr` is of test images of the classes that were trained on, and `psnr_unseen` of two other
classes, which no part of the network has seen. All models take equally many steps; the steps before
are not counted.
"""

import numpy as np

from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = ("scratch", "fine_tuned", "frozen", "frozen_random")
METRICS = {"psnr": "max", "psnr_unseen": "max"}
DATA = {
    "digits": "scikit-learn's digits, pixels repeated to 16×16; needs no files",
    "cifar10_jpeg": "CIFAR-10 as JPEG files, shrunk to 16×16",
}
BASE = dict(patch=4, width=64, depth=2, heads=4, hidden=(32, 32), frequencies=8, groups=8)
BASE |= dict(batch=32, learning_rate=1e-3, seen=8)
PRESETS = {
    "smoke": BASE
    | dict(data="digits", seeds=1, epochs=2, steps=2, pretraining_steps=2, fields=20)
    | dict(pretraining=20, tested=16),
    "quick": BASE
    | dict(data="digits", seeds=3, epochs=10, steps=100, pretraining_steps=1500, fields=200)
    | dict(pretraining=700, tested=200),
    "full": BASE
    | dict(data="cifar10_jpeg", seeds=3, epochs=10, steps=200, pretraining_steps=4000)
    | dict(fields=2000, pretraining=20000, tested=1000),
}
SEARCH = {"*": {"learning_rate": Range(low=1e-4, high=1e-2, log=True)}}
DEVIATIONS = (
    "The paper's encoders are foundation models of the size of ViT-B, and its main figures are of "
    "new views of 3D scenes; its tables could not be had. Here an encoder of two layers is trained "
    "on a few images of the same kind, and fields show images.",
)
CLAIMED = (
    dict(
        what="On classes that were not seen, an encoder that was trained before is better than one "
        "from scratch (Gu & Yeung-Levy 2025, of foundation models).",
        ours="fine_tuned",
        baseline="scratch",
    ),
    dict(
        what="Frozen it is better than from scratch (the same).", ours="frozen", baseline="scratch"
    ),
    dict(
        what="It is the training before that helps, not the freezing (ours).",
        ours="frozen",
        baseline="frozen_random",
    ),
)


class Images:
    """Images for the encoder, for fields, and of seen and unseen classes for tests."""

    def __init__(self, splits, config):
        seen = {
            split: (x[y < config["seen"]], x[y >= config["seen"]])
            for split, (x, y) in splits.items()
        }
        self.config = config
        known, first = seen["train"][0], config["pretraining"]
        self.pretraining = known[:first]  # no image is in both
        self.fields = known[first : first + config["fields"]]
        count = config["tested"]
        self.valid, self.test, self.unseen = (
            (x, x)
            for x in (seen["valid"][0][:count], seen["test"][0][:count], seen["test"][1][:count])
        )

    def train(self, seed, epoch):
        rng = np.random.default_rng([seed, epoch])
        for _ in range(self.config["steps"]):
            x = self.fields[rng.integers(0, len(self.fields), self.config["batch"])]
            yield x, x


def data(name, config, data_dir):
    from reproductions.data import images

    if name == "digits":
        splits = images.digits()
    else:
        splits = {split: (_halved(x), y) for split, (x, y) in images.cifar10_jpeg(data_dir).items()}
    return Images(splits, config)


def _halved(x):
    """Bytes [n, 32, 32, 3] → [n, 16, 16, 3] in [0, 1]."""
    n, side = x.shape[:2]
    return x.reshape(n, side // 2, 2, side // 2, 2, 3).mean((2, 4), dtype="float32") / 255


def build(model, config, data):
    import keras

    from reproductions.tasks.predicted_fields import networks

    reader, encoder = networks.Reader(config, name="reader"), networks.encoder(config)
    reader.build((None, *data.fields.shape[1:]))
    if model in ("fine_tuned", "frozen"):
        seed = int(keras.random.randint((), 0, 2**30))
        networks.pretrain(reader, encoder, data, config, seed)
    reader.trainable = encoder.trainable = not model.startswith("frozen")
    network = networks.FieldPredictor(reader, encoder, config)
    network.build((None, *data.fields.shape[1:]))
    steps = config["epochs"] * config["steps"]
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [steps * 4 // 5], [config["learning_rate"], config["learning_rate"] / 10]
    )
    network.compile(keras.optimizers.Adam(rate), "mse", jit_compile=False)
    return network


def psnr(made, images):
    """The mean over images."""
    errors = np.mean(np.square(np.clip(made, 0, 1) - images), axis=(1, 2, 3))
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


def evaluate(network, x, y, config):
    return {"psnr": psnr(network.predict(x, batch_size=100, verbose=0), y)}


def transfer(network, model, data, config):
    return {"psnr_unseen": evaluate(network, *data.unseen, config)["psnr"]}


def generated(network):
    return network.num_generated


def draw(network, data, config, path, traces):
    """Test images of seen and of unseen classes, the fields below."""
    from matplotlib.figure import Figure

    x = np.concatenate([data.test[0][:6], data.unseen[0][:6]])
    made = np.clip(network.predict(x, verbose=0), 0, 1)
    figure = Figure(figsize=(9, 2.2), layout="constrained")
    grid = figure.subplots(2, len(x))
    for row, images in zip(grid, (x, made), strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
    figure.suptitle("images, and their fields below: six of seen classes, six of unseen", size=9)
    figure.savefig(path, dpi=90)


TASK = Task(
    name="predicted_fields",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    deviations=DEVIATIONS,
    search=SEARCH,
    display=Display(
        families={"hypernetwork": ("*",)},
        claims=tuple(
            Claim(preset=preset, metric="psnr_unseen", **asked)
            for preset in ("full", "quick")
            for asked in CLAIMED
        ),
    ),
    data=data,
    build=build,
    evaluate=evaluate,
    generated=generated,
    transfer=transfer,
    draw=draw,
)
