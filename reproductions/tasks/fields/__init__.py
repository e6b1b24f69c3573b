"""Photographs as small networks: how many bits for how good a picture?

A coordinate network (a field) maps the place of a pixel to its color. Trained on one image alone it
is a compressed file of it. All fields of a row have as many learned numbers for each image
(`numbers`):

* `coin` is a network of sines (SIREN), as COIN has it;
* `relu` is a ReLU network whose coordinates come with sines of several octaves;
* `doh` is D'OH on `relu`: fixed random projections of one code make the kernels of a larger network
  (`RandomHead`). The code, the biases and a seed are the file;
* `doh_siren` is the same on sines, whose first kernel is learned directly;
* `jpeg` is JPEG by Pillow, of several qualities; its bits are those of the whole file.

`psnr` is of 32-bit numbers. Then the numbers of each image are rounded, without further training:
`_16` is float16, as COIN stores it. `_8`, `_6` and `_5` are uniform steps of as many bits, one step
for each array or one for each column of it, whichever gives the better picture. Their `bpp`, bits
a pixel, count the steps, the seed, and the shorter of a fixed-length and an adaptive code. PSNR is
the mean over images, of colors that are cut off at 0 and 1 and rounded to bytes.
"""

import numpy as np

from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

FIELDS = ("coin", "relu", "doh", "doh_siren")
MODELS = (*FIELDS, "jpeg")
DEPTHS = (16, 8, 6, 5)
METRICS = {
    "psnr": "max",
    "bpp": "min",
    **{f"{name}_{b}": way for b in DEPTHS for name, way in (("psnr", "max"), ("bpp", "min"))},
}
LABELS = ("numbers", "quality")
DATA = {
    "photographs": "scikit-learn's two photographs, shrunk; needs no files",
    "kodak": "Kodak's 24 images, shrunk",
}
# The best of two or three for each model, with 1,000 numbers on the two photographs.
RATES = {"coin": 2e-3, "relu": 1.5e-2, "doh": 5e-3, "doh_siren": 2e-3}
BASE = dict(octaves=5, seed=7, learning_rates=RATES)
PRESETS = {
    "smoke": BASE
    | dict(data="photographs", seeds=1, epochs=2, steps=3, height=8, width=12, batch=96)
    | dict(sizes=(400,), qualities=(50,)),
    "quick": BASE
    | dict(data="photographs", seeds=3, epochs=10, steps=150, height=64, width=64, batch=4096)
    | dict(sizes=(500, 1000), qualities=(5, 10, 20, 40, 60, 80)),
    "full": BASE
    | dict(data="kodak", seeds=3, epochs=10, steps=100, height=128, width=192, batch=4096)
    | dict(octaves=6, sizes=(600, 1800), qualities=(5, 10, 20, 40, 60, 80)),
}
SEARCH = {model: {"learning_rate": Range(low=1e-4, high=3e-2, log=True)} for model in FIELDS}
COIN = ((0.074, 23.21), (0.160, 24.64), (0.307, 26.41), (0.611, 28.41), (1.209, 30.64))
JPEG = ((0.221, 23.78), (0.327, 26.58), (0.423, 28.04), (0.508, 29.04), (0.588, 29.78))
PUBLISHED = tuple(
    dict(model=f"{name} at 768×512, {rate:g} bits a pixel", metric="psnr", value=value)
    | dict(source="the repository of COIN", notes=(1,))
    for name, curve in (("COIN", COIN), ("JPEG", JPEG))
    for rate, value in curve
)
DEVIATIONS = (
    "Published figures are of Kodak's images at their full size, 50,000 steps of all pixels, and "
    "COIN's numbers as float16. Ours are shrunk to 192 × 128: a pixel then holds more detail, so "
    "that a bit a pixel says another thing, and the two don't compare. Ours train for 1,000 steps "
    "of a sixth of the pixels. No figures of D'OH's own could be had.",
)
CLAIMS = tuple(
    Claim(preset=preset, ours=ours, labels={"numbers": numbers}, **asked)
    for preset, numbers, name in (("full", 1800, "Kodak"), ("quick", 1000, "two photographs"))
    for ours, baseline in (("doh", "relu"), ("doh_siren", "coin"))
    for asked in (
        dict(
            what="Random projections of a code show an image better than a network of as many "
            f"numbers ({name}; Gordon et al. 2024 say so at equal bits, which the picture of rates "
            "shows).",
            baseline=baseline,
        ),
        dict(
            what=f"They do so when the numbers are rounded to 5 bits ({name}).",
            baseline=baseline,
            metric="psnr_5",
        ),
    )
)


def configurations(model, preset, data):
    settings = PRESETS[preset]
    base = {k: v for k, v in settings.items() if k not in ("sizes", "qualities", "learning_rates")}
    if model == "jpeg":
        return [base | dict(epochs=1, steps=1, quality=q) for q in settings["qualities"]]
    base |= dict(learning_rate=settings["learning_rates"][model])
    return [base | dict(numbers=n) for n in settings["sizes"]]


class Photographs:
    """Batches of places [p, 2] and the colors of all images there [p, images, 3]."""

    def __init__(self, images, config):
        self.images, self.config = images, config
        height, width = images.shape[1:3]
        grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
        # Both axes by one length, as COIN has it: a pixel is square.
        x = (2 * grid / (height - 1) - 1).reshape(-1, 2).astype("float32")
        y = np.moveaxis(images, 0, 2).reshape(-1, len(images), 3) / np.float32(255)
        self.valid = self.test = (x, y.astype("float32"))  # the file is of these very pixels

    def train(self, seed, epoch):
        rng, (x, y) = np.random.default_rng([seed, epoch]), self.valid
        for _ in range(self.config["steps"]):
            some = rng.permutation(len(x))[: self.config["batch"]]
            yield x[some], y[some]


def data(name, config, data_dir):
    from reproductions.data import photographs

    size = config["height"], config["width"]
    if name == "kodak":
        return Photographs(photographs.kodak(data_dir, *size), config)
    return Photographs(photographs.photographs(*size), config)


def build(model, config, data):
    from reproductions.tasks.fields import networks

    if model == "jpeg":
        return networks.jpeg_files(data.images, config["quality"])
    return networks.build(model, config, data)


def colors(network, x):
    """What the network gives, as bytes over 255: [p, images, 3]."""
    if hasattr(network, "decoded"):
        return network.decoded()
    made = network.predict(x, batch_size=8192, verbose=0)
    return np.round(np.clip(made, 0, 1) * 255) / 255


def psnr(colors, y):
    """The mean over images."""
    errors = np.mean(np.square(colors - y), axis=(0, 2))
    return float(np.mean(-10 * np.log10(np.maximum(errors, 1e-10))))


def evaluate(network, x, y, config):
    return {"psnr": psnr(colors(network, x), y)}


def transfer(network, model, data, config):
    """PSNR and bits a pixel after quantization."""
    x, y = data.test
    if model == "jpeg":
        return {"bpp": 8 * float(np.mean([len(file) for file in network.files])) / len(x)}
    found, learned = {}, [variable.numpy() for variable in network.stored]
    for depth in DEPTHS:
        shown = None
        for by_column in (False, True):
            bits = quantize(network, learned, depth, by_column, model)
            value = psnr(colors(network, x), y)
            if shown is None or value > shown[0]:
                shown = value, bits / len(x)
        found |= {f"psnr_{depth}": shown[0], f"bpp_{depth}": shown[1]}
    for variable, array in zip(network.stored, learned, strict=True):
        variable.assign(array)
    return found


def quantize(network, learned, depth, by_column, model):
    """Put what a decoder gets into the network; the bits of an image, on average."""
    from reproductions.tasks.fields import coding

    images = len(learned[0])
    fields = [
        coding.coded([array[i] for array in learned], depth, by_column) for i in range(images)
    ]
    for k, variable in enumerate(network.stored):
        variable.assign(np.stack([arrays[k] for arrays, _ in fields]))
    seed = coding.SEED_BITS if model.startswith("doh") else 0
    return float(np.mean([bits for _, bits in fields])) + seed


def generated(network):
    """For each image."""
    return getattr(network, "num_generated", 0)


def draw(network, data, config, path, traces):
    from reproductions.tasks.fields import plots

    x, _ = data.test
    shape = data.images.shape

    def pictures():
        return np.moveaxis(colors(network, x), 1, 0).reshape(shape)

    versions = {}
    if hasattr(network, "decoded"):
        versions[f"quality {config['quality']}"] = pictures()
    else:
        versions["32 bits"] = pictures()
        learned = [variable.numpy() for variable in network.stored]
        for depth in (8, 6):
            quantize(network, learned, depth, True, "")
            versions[f"{depth} bits"] = pictures()
        for variable, array in zip(network.stored, learned, strict=True):
            variable.assign(array)
    plots.reconstructions(data.images / 255, versions, path)


def plot(records, path):
    from reproductions.tasks.fields import plots

    plots.rates(records, path)


TASK = Task(
    name="fields",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    labels=LABELS,
    search=SEARCH,
    display=Display(
        families={"hypernetwork": ("doh*",)},
        only={"bpp": ("jpeg",), "psnr_*": FIELDS, "bpp_*": FIELDS},
        no_parameters=("jpeg",),
        claims=CLAIMS,
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    generated=generated,
    transfer=transfer,
    draw=draw,
    plot=plot,
)
