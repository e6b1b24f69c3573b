"""A domain never seen: do experts with generated weights find domains by themselves?

Digits are turned by 0 to 75 degrees, an angle a domain. A classifier learns from all domains but
one, is chosen on other images of the same domains, and tested on the domain that was held out, as
DomainBed does.

* `erm` takes all domains together;
* `coral` makes means and covariances of features alike in all domains;
* `groupdro` gives domains of a high loss more weight;
* `moe` mixes experts, last layers of their own, by a gate that looks at the image;
* `hmoe` (Qu et al. 2022) is the same with experts that one hypernetwork makes from learned vectors;
* `hmoe_labels` tells the gate the domains in training, which the others but `coral` and `groupdro`
  are never told: a bound.

The gates go from even shares to sure ones in the course of the training. Those that are not told
the domains are rewarded for sure shares and for even use of the experts within each class, so that
they don't divide classes.

`nmi_domain` and `ari_domain` are the agreement of the gate's first experts with the true domains,
on validation images: normalized mutual information and adjusted Rand index. `nmi_class` is that
with the classes. Without a gate they are of k-means on features, with as many clusters.
`experts_used` counts those that are first for at least one image in 50.

With the data `colored_*` the color goes along with the label, in the domain held out against it. A
domain can't be told from an image there: it is a control.
"""

from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = ("erm", "coral", "groupdro", "moe", "hmoe", "hmoe_labels")
GATED = ("moe", "hmoe", "hmoe_labels")
METRICS = {
    "accuracy": "max",
    "nmi_domain": "max",
    "ari_domain": "max",
    "nmi_class": "min",
    "experts_used": "max",
}
DATA = {
    "rotated_digits": "scikit-learn's digits of 8×8, enlarged and turned; needs no files",
    "colored_digits": "the same, colored; needs no files",
    "rotated_mnist": "MNIST, turned, from tensorflow-datasets or idx files in --data-dir",
    "colored_mnist": "the same, colored",
}
BASE = dict(
    data="rotated_digits",
    widths=[16, 32, 32, 32],
    strides=[1, 2],
    groups=4,
    learning_rate=1e-3,
    experts=5,
    dims=8,
    width=32,
    gate_width=16,
    temperatures=[10.0, 0.3],
    balance=1.0,
    sure=0.5,
    images=600,
)
PRESETS = {
    "smoke": BASE
    | dict(seeds=1, epochs=2, steps=2, batch=4, widths=[8], strides=[0], held_out=(75,))
    | dict(models=("erm", "hmoe")),
    "quick": BASE | dict(seeds=3, epochs=10, steps=30, batch=16, held_out=(75, 0)),
    "full": BASE
    | dict(data="rotated_mnist", seeds=3, epochs=15, steps=100, batch=32, held_out=(75, 0))
    | dict(images=3000),
}
OWN = {
    "coral": dict(penalty=1.0),
    "groupdro": dict(growth=1e-2),
    "moe": dict(generated=False),
    "hmoe": dict(generated=True),
    "hmoe_labels": dict(generated=True),
}
COLORS = ("+90%", "+80%", "-90%")
SEARCH = {"*": {"learning_rate": Range(low=10**-4.5, high=10**-2.5, log=True)}}
BED = "DomainBed, training-domain validation"
ROTATED = {
    "erm": (0.959, 0.964),
    "coral": (0.958, 0.964),
    "Mixup": (0.958, 0.965),
    "DANN": (0.950, 0.963),
    "ARM": (0.967, 0.965),
    "IRM": (0.955, 0.959),
}
COLORED = {"erm": (0.717, 0.729, 0.100), "coral": (0.716, 0.731, 0.099)}
PUBLISHED = tuple(
    dict(model=model, metric="accuracy", value=value, source=BED, held_out=held_out, data=data)
    | dict(notes=(1,))
    for data, held, table in (
        ("rotated_mnist", (0, 75), ROTATED),
        ("colored_mnist", COLORS, COLORED),
    )
    for model, values in table.items()
    for held_out, value in zip(held, values, strict=True)
)
DEVIATIONS = (
    "DomainBed's network has 64, 128, 128 and 128 channels, trains for 5,001 steps of 64 images a "
    "domain on all of MNIST, and chooses among 20 random settings. Ours is four times narrower and "
    "trains for 1,500 steps of 32 images a domain, on 3,000 images a domain; `tune` searches the "
    "same range of learning rates.",
    "The text of HMOE behind its abstract could not be had: `hmoe` is the smallest system that "
    "fits the abstract, and its terms for the gate are ours. No figure of the paper is beside it.",
)


def configurations(model, preset, data):
    settings = PRESETS[preset]
    base = {key: value for key, value in settings.items() if key != "held_out"} | OWN.get(model, {})
    held_out = settings["held_out"]
    if data.startswith("colored"):
        held_out = COLORS if preset == "full" else COLORS[-1:]
    return [base | dict(held_out=domain) for domain in held_out]


def data(name, config, data_dir):
    from reproductions.tasks.domains import environments

    kind = environments.RotatedDomains
    if name.startswith("colored"):
        kind = environments.ColoredDomains
    return kind(*_whole(name, data_dir), config["held_out"], config)


def _whole(name, data_dir):
    """All images of a set [m, side, side, 1], of all splits, and their labels."""
    import numpy as np

    from reproductions.data import images

    splits = images.digits(scale=1) if name.endswith("digits") else images.mnist(data_dir)
    x, y = (np.concatenate([part[k] for part in splits.values()]) for k in (0, 1))
    return (_enlarged(x) if name.endswith("digits") else x), y


def _enlarged(x):
    """8×8 → 14×14 in the middle of 20×20, where all of it stays when it is turned."""
    import numpy as np
    from scipy.ndimage import zoom

    return np.pad(zoom(x, (1, 14 / 8, 14 / 8, 1), order=1), [(0, 0), (3, 3), (3, 3), (0, 0)])


def build(model, config, data):
    import keras

    from reproductions.engine.training import compile_classifier
    from reproductions.tasks.domains import networks

    network = networks.build(model, config, data)
    compile_classifier(network, keras.optimizers.Adam(config["learning_rate"]))
    return network


def before_epoch(network, epoch, config):
    """The gate's temperature falls by the same factor each epoch."""
    if hasattr(network, "temperature"):
        first, last = config["temperatures"]
        network.temperature.assign(first * (last / first) ** (epoch / max(config["epochs"] - 1, 1)))


def transfer(network, model, data, config):
    from reproductions.tasks.domains import gates

    return gates.agreement(network, data, config)


def generated(network):
    """For all experts."""
    hyper = getattr(network, "hyper", None)
    return 0 if hyper is None else network.config["experts"] * hyper.num_generated


def draw(network, data, config, path, traces):
    from reproductions.tasks.domains import gates

    gates.draw(network, data, path)


GATE = (
    dict(
        what="The gate finds the domains without being told, rather than the classes",
        baseline="hmoe",
        metric="nmi_domain",
        baseline_metric="nmi_class",
    ),
    dict(
        what="The gate finds the domains better than k-means on the features of one classifier",
        baseline="erm",
        metric="nmi_domain",
    ),
)
CLAIMS = tuple(
    Claim(
        preset=preset,
        ours="hmoe",
        labels=dict(held_out=angle),
        **asked | dict(what=f"{asked['what']}: {name}, {angle} degrees held out."),
    )
    for preset, name in (("quick", "digits of 8×8"), ("full", "MNIST"))
    for angle in (75, 0)
    for asked in (
        dict(
            what="Experts with generated weights serve an unseen domain better than one "
            "classifier (Qu et al. 2022, on other data)",
            baseline="erm",
        ),
        dict(
            what="Experts with generated weights serve it better than experts with their own",
            baseline="moe",
        ),
        *(GATE if angle == 75 else ()),
    )
)
TASK = Task(
    name="domains",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    labels=("held_out",),
    search=SEARCH,
    display=Display(
        families={"hypernetwork": ("hmoe",), "bound": ("hmoe_labels",)},
        only={"experts_used": GATED},
        panels=("held_out",),
        claims=CLAIMS,
    ),
    configurations=configurations,
    data=data,
    build=build,
    before_epoch=before_epoch,
    generated=generated,
    transfer=transfer,
    draw=draw,
)
