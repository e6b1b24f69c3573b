"""Learning to sort images of numbers: the quicksort layer against other differentiable sorts.

A network learns to sort sets of n images from their order alone (Bloem 2018). An image is a number,
with its digits side by side. The conv net of Grover et al. (2019) gives each image a key, and each
relaxation of sorting makes a loss of the keys. Three models have no keys: `sinkhorn` and
`gumbel_sinkhorn` get a column of an n × n matrix from each image, and `row_stochastic` gets the
matrix from all images together.

`exact` is the fraction of test sets that are sorted wholly, and `elementwise` the fraction of
places that hold the right number. Networks are trained on sets of `size` numbers alone. The columns
after the first two are of the same network on sets of other sizes; "–" means that it takes no
other.

* `quicksort_published` is the layer as published: choice vectors are drawn uniformly and weighed as
  a whole, and the loss is the squared error of the sorted elements;
* `quicksort` takes the mean over all choices, and cross-entropy as the other models do;
* `quicksort_sampled` draws likely choices instead, and weighs them bucket by bucket;
* `quicksort_depths` has the squared error at every depth, to targets sent back through the splits;
* `quicksort_likelihood` has the log-likelihood of the right choices, as if each element chose
  alone, and `quicksort_random` its mean over random pivots;
* `quicksort_cauchy` has the likelihood of choices by the heavy-tailed Cauchy sigmoid;
* `dense` is `row_stochastic` with as many parameters as the others;
* `static` has keys from a wider conv net, all kernels but the first made by one generator, and the
  loss of `neural_sort_stochastic`, of the published relaxations the best one in `full`;
* `dynamic` is a pointer network: a `HyperLSTM` takes a step a place, points to an element by
  attention and reads what it points to; `recurrent` is the same with a plain LSTM.

In `full`, `quicksort_cauchy` and `neural_sort` are also trained for eight times as long, and
`quicksort_cauchy` for 48 times. Both are trained on sets of 15 too, as the published networks were,
for five times as long and with recombined numbers: after the convolutions each digit, with its
columns of features, is put into any places of any numbers, so that 200 sets come from the
convolutions of 25 images. Half of those digits are skewed and bent.

The batch size, the learning rate, and the steepness and sigmoid of the choices were chosen by
single short runs on validation sets.
"""

import math
from functools import cached_property

import numpy as np

from reproductions.data.image_batches import shifted, skewed
from reproductions.engine.display import Display, Headline, Matrix
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

SIZES = (3, 4, 5, 7, 8, 9, 15, 16, 32, 64)  # of test sets
MODELS = (
    *("row_stochastic", "sinkhorn", "gumbel_sinkhorn", "neural_sort", "neural_sort_stochastic"),
    *("soft_sort", "diffsort", "fast_rank"),
    *("quicksort", "quicksort_published", "quicksort_sampled"),
    *("quicksort_depths", "quicksort_likelihood", "quicksort_random", "quicksort_cauchy"),
    *("dense", "static", "dynamic", "recurrent"),
)
FAMILIES = MODELS[-4:]
METRICS = {
    "exact": "max",
    "elementwise": "max",
    **{f"{metric}_{n}": "max" for metric in ("exact", "elementwise") for n in SIZES},
}
LABELS = ("size", "digits", "epochs")
DATA = {
    "digits": "numbers made of scikit-learn's 8×8 digits; needs no files",
    "mnist": "numbers made of MNIST digits, 28×28 each",
}
SMALL = dict(data="digits", seeds=1, filters=(16, 32), units=32, samples=5, learning_rate=2e-3)
SMALL |= dict(reach=0, average=0.98, precision="float32")
RECOMBINED = dict(size=15, epochs=25, batch=200, recombined=True, skew=0.15, bend=1.5)
# `trained`: pairs of a set's size and a number's digits; the second is for `SLIDES` alone.
# `long`: what longer runs on the first pair have of their own. `rates`: a model's own rate.
PRESETS = {
    "smoke": SMALL
    | dict(trained=((3, 2),), epochs=2, steps=2, images=12, batch=4, sets=20, pool=30),
    "demo": SMALL
    | dict(models=(*FAMILIES, "quicksort"), trained=((5, 2),), epochs=4, steps=100)
    | dict(images=100, batch=100, sets=1000, pool=500, sizes=(), learning_rate=4e-3),
    "quick": SMALL
    | dict(trained=((5, 2),), epochs=8, steps=100, images=100, batch=100, sets=2000, pool=1000)
    | dict(more_seeds=dict.fromkeys((*FAMILIES, "quicksort"), 3)),
    "full": dict(
        models=MODELS[:-4],
        data="mnist",
        trained=((5, 4), (4, 3)),
        seeds=1,
        filters=(32, 64),
        units=64,
        samples=5,
        learning_rate=2e-3,
        rates={"row_stochastic": 5e-4},  # with the others' it stays at chance
        epochs=5,
        long={
            "quicksort_cauchy": (dict(epochs=40), dict(epochs=240), RECOMBINED),
            "neural_sort": (dict(epochs=40), RECOMBINED),
        },
        steps=2000,
        images=25,
        batch=25,
        reach=1,
        average=0.999,
        sets=10000,
        pool=10000,
        precision="mixed_bfloat16",
    ),
}
SEARCH = {
    "*": dict(
        learning_rate=Range(low=3e-4, high=2e-2, log=True),
        strength=Range(low=0.1, high=30.0, log=True),
    )
}
# Temperature, or for quicksort and networks the steepness; 1 where it is not said.
STRENGTH = dict.fromkeys(("quicksort", "quicksort_sampled", "quicksort_random"), 2.0)
STRENGTH |= dict.fromkeys(("quicksort_published", "quicksort_depths"), 10.0) | {"diffsort": 6.0}
# What the families have of their own, by which they have as many parameters as the other models.
OWN = {
    "dense": dict(units=17),
    "static": dict(units=25, filters=(48, 64), generator=(32, 12)),
    "dynamic": dict(units=14, cell_units=18),
    "recurrent": dict(units=16, cell_units=20),
}
# Also on numbers of three digits.
SLIDES = ("quicksort_cauchy", "neural_sort", "quicksort", "quicksort_published")
GROVER = {
    "row_stochastic": ((0.467, 0.093, 0.009, 0, 0), (0.801, 0.603, 0.492, 0.113, 0.067)),
    "sinkhorn": ((0.462, 0.038, 0.001, 0, 0), (0.561, 0.293, 0.197, 0.143, 0.078)),
    "gumbel_sinkhorn": ((0.484, 0.033, 0.001, 0, 0), (0.575, 0.295, 0.189, 0.146, 0.078)),
    "neural_sort": ((0.930, 0.837, 0.738, 0.649, 0.386), (0.951, 0.927, 0.909, 0.896, 0.857)),
    "neural_sort_stochastic": (
        (0.927, 0.835, 0.741, 0.646, 0.418),
        (0.950, 0.926, 0.909, 0.895, 0.862),
    ),
}
PUBLISHED = (
    *(
        dict(model=model, metric=metric + ("" if n == size else f"_{n}"), value=value)
        | dict(size=size, digits=4, source="Grover et al. 2019", notes=(1,))
        for size in (5, 15)
        for model, rows in GROVER.items()
        for metric, values in zip(("exact", "elementwise"), rows, strict=True)
        for n, value in zip((3, 5, 7, 9, 15), values, strict=True)
    ),
    dict(
        model="diffsort",
        metric="exact_15",
        value=0.318,
        size=5,
        digits=4,
        source="Kim et al. 2024, DiffSort with a CNN",
        notes=(1,),
    ),
)
DEVIATIONS = (
    "Trained anew for each n, where ours is one network for all of them, trained at one n. "
    "Steps, learning rates and temperatures of their own, and sets that share no image. Ours "
    "have equal steps (but for the runs of 25, 40 and 240 epochs) and batches, and but for the "
    "row-stochastic matrix equal learning rates, an image is in several sets of its batch, digits "
    "move by up to a pixel, recombined ones are next to digits that they were not convolved with, "
    "the conv net computes in bfloat16 with float32 weights, and tested "
    "are the weights' averages over the steps.",
)


def configurations(model, preset, data):
    settings = PRESETS[preset]
    own = ("trained", "long", "rates")
    base = {key: value for key, value in settings.items() if key not in own}
    base |= dict(strength=STRENGTH.get(model, 1.0)) | OWN.get(model, {})
    base["learning_rate"] = settings.get("rates", {}).get(model, base["learning_rate"])
    pairs = settings["trained"] if model in SLIDES else settings["trained"][:1]
    configs = [base | dict(size=size, digits=digits) for size, digits in pairs]
    longer = settings.get("long", {}).get(model, ())
    return configs + [configs[0] | more for more in longer]


class Numbers:
    """Sets of numbers, those of each split from its own digits alone.

    A batch is `((images [p, h, w, 1], sets [s, n]), numbers [s, n])`, as are `valid` and `test`: an
    image is there once for all the sets that it is in. With `recombined` the sets of training are
    `[s, n, d]`, of numbers put together from the d digits of each image; with `skew` and `bend`
    half of their digits are changed as in `images.skewed`.
    """

    def __init__(self, splits, config):
        self.splits, self.config = splits, config
        self.powers = 10 ** np.arange(config["digits"])[::-1]

    def draw(self, rng, split, count):
        """`count` numbers: images `[count, h, w, 1]`, and their digits `[count, d]`."""
        images, labels = self.splits[split]
        chosen = rng.integers(0, len(images), (count, self.config["digits"]))
        digits = [self.changed(rng, images[row], split == "train") for row in chosen.T]
        return np.concatenate(digits, axis=2), labels[chosen]

    def changed(self, rng, digits, training):
        digits = shifted(rng, digits, self.config["reach"] if training else 0)
        if training and "skew" in self.config:
            half = len(digits) // 2
            digits[:half] = skewed(rng, digits[:half], self.config["skew"], self.config["bend"])
        return digits

    def train(self, seed, epoch):
        rng = np.random.default_rng([0, seed, epoch])
        shape = self.config["batch"], self.config["size"]
        for _ in range(self.config["steps"]):
            images, digits = self.draw(rng, "train", self.config["images"])
            if self.config.get("recombined"):
                sets = rng.integers(0, digits.size, (*shape, digits.shape[1])).astype("int32")
                yield (images, sets), digits.ravel()[sets] @ self.powers
                continue
            # As many sets as asked for, each image in as many as any other, as far as may be.
            rounds = -(-np.prod(shape) // len(images))
            order = np.concatenate([rng.permutation(len(images)) for _ in range(rounds)])
            sets = order[: np.prod(shape)].reshape(shape).astype("int32")
            yield (images, sets), (digits @ self.powers)[sets]

    def sets(self, split, size):
        rng = np.random.default_rng([1 + ("valid", "test").index(split), size])
        images, digits = self.draw(rng, split, self.config["pool"])
        chosen = rng.integers(0, len(images), (self.config["sets"], size)).astype("int32")
        return (images, chosen), (digits @ self.powers)[chosen]

    @cached_property
    def valid(self):
        return self.sets("valid", self.config["size"])

    @cached_property
    def test(self):
        return self.sets("test", self.config["size"])


def data(name, config, data_dir):
    from reproductions.data import images as sources

    return Numbers(sources.digits(1) if name == "digits" else sources.mnist(data_dir), config)


def build(model, config, data):
    import keras

    from reproductions.tasks.sorting.networks import Sorter

    (images, _), _ = next(data.train(0, 0))
    keys = ("size", "filters", "units", "strength", "samples", "precision")
    keys += tuple(key for key in ("generator", "cell_units") if key in config)
    network = Sorter(model, image_shape=images.shape[1:], **{key: config[key] for key in keys})
    # On a CPU XLA's convolutions take four times as long as TensorFlow's own.
    jit = False if keras.backend.backend() == "tensorflow" else "auto"
    steps = config["epochs"] * config["steps"]
    rate = keras.optimizers.schedules.CosineDecay(config["learning_rate"], steps)
    adam = keras.optimizers.Adam(rate, use_ema=True, ema_momentum=config["average"])
    network.compile(adam, jit_compile=jit)
    return network


def evaluate(network, x, y, config):
    images, sets = x
    features = network.image.predict(images, batch_size=250, verbose=0)
    places = network.places(np.asarray(network.scores(features[sets])))
    right = np.take_along_axis(y, places, axis=1) == np.sort(y, axis=1)
    return {"exact": float(right.all(1).mean()), "elementwise": float(right.mean())}


def transfer(network, model, data, config):
    """Accuracy on sets of other sizes than the network was trained for."""
    from reproductions.tasks.sorting.networks import METHODS, SCORES

    accuracies = {}
    for n in config.get("sizes", SIZES):
        able = METHODS.get(model, model) not in SCORES and n != config["size"]
        there = evaluate(network, *data.sets("test", n), config) if able else {}
        accuracies |= {f"{key}_{n}": there.get(key) for key in ("exact", "elementwise")}
    return accuracies


def generated(network):
    from reproductions.tasks.sorting import families

    return families.generated_weights(network)


def trace(network, data, config):
    """The soft permutation of one validation set, its elements put in their true order."""
    (images, sets), numbers = data.valid
    matrix = np.asarray(network.matrix(network((images[sets[0]], np.arange(sets.shape[1])[None]))))
    matrix = matrix.reshape(-1, *matrix.shape[-2:])[0]  # of several samples the first
    return matrix[:, np.argsort(numbers[0], kind="stable")].tolist()


def draw(network, data, config, path, traces):
    """Soft permutations, from soft to hard over training: the diagonal is right."""
    from matplotlib.figure import Figure

    epochs = sorted({round(epoch) for epoch in np.geomspace(1, len(traces), 6)})
    figure = Figure(figsize=(1.6 * len(epochs), 1.9), layout="constrained")
    panels = figure.subplots(1, len(epochs), squeeze=False)[0]
    for axes, epoch in zip(panels, epochs, strict=True):
        axes.imshow(traces[epoch - 1], cmap="gray_r", vmin=0, vmax=1)
        axes.set(title=f"epoch {epoch}", xticks=(), yticks=())
    figure.savefig(path, dpi=80)


def plot(records, path):
    """Accuracy on test sets against n, of the networks of most digits."""
    from matplotlib.figure import Figure

    digits = max(run["config"]["digits"] for run in records)
    least = min(run["config"]["epochs"] for run in records)
    usual = min(run["config"]["size"] for run in records if run["config"]["digits"] == digits)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    for run in (run for run in records if run["config"]["digits"] == digits):
        i, size, test = MODELS.index(run["model"]), run["config"]["size"], run["metrics"]["test"]
        more = (epochs := run["config"]["epochs"]) > least
        label = run["model"] + (f", {epochs} epochs" if more else "")
        label += f", n = {size}" if size != usual else ""
        style = dict(color=f"C{i % 10}", marker="o" if i < 10 else "s", label=label)
        style["linestyle"] = ":" if size != usual else "--" if more else "-"
        for axes, metric in zip(panels, ("exact", "elementwise"), strict=True):
            points = {n: test.get(f"{metric}_{n}") for n in SIZES} | {size: test[metric]}
            points = {n: value for n, value in sorted(points.items()) if value is not None}
            axes.plot(points.keys(), points.values(), **style)
    panels[0].set(xscale="log", xlabel="n", ylabel="sets sorted whole")
    panels[1].set(xscale="log", xlabel="n", ylabel="places that hold the right number")
    for axes in panels:
        axes.set_xticks(SIZES[::3], map(str, SIZES[::3]))
        axes.minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(path, dpi=90)


TASK = Task(
    name="sorting",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    search=SEARCH,
    labels=LABELS,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="neural_sort",
            ours="quicksort_cauchy",
            what="sets of 15 four-digit MNIST numbers: sorted whole",
            labels={"size": 15, "digits": 4, "epochs": 25},
        ),
        matrix=Matrix(
            what="sets of numbers, sorted whole",
            models={"sparse": "quicksort"},
            chance=lambda config: 1 / math.factorial(config["size"]),
        ),
        families={"sparse": ("quicksort*",), "static": ("static",), "dynamic": ("dynamic",)},
        panels=("size", "digits", "epochs"),
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    generated=generated,
    transfer=transfer,
    trace=trace,
    draw=draw,
    plot=plot,
)
