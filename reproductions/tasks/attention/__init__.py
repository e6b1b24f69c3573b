"""Reading a digit among clutter: sparse glimpses against other ways to look at an image.

The layer is that of Bloem (2018). It is compared with a conv net that sees the whole image, with
the spatial transformer, which cuts out one part, and with the recurrent attention model, which
looks at small patches in turn and learns by REINFORCE where to look. A glimpse reads an even grid
of points. A localization network places it by a box or an affine map. A small conv net, an MLP or
an LSTM classifies what was read.

All models have nearly the same number of parameters, and the same images, steps and schedule.
Learning rates are hardly tuned: 0.005, and 0.002 for recurrent attention. `spatial_transformer`
places its crop by regression, as in its paper. It learns at a rate of 0.001 in `full`, since at
0.005 it fell to chance. `spatial_transformer_place` has the localization network of the glimpses,
so that it differs from `affine_1x32` and `glimpse_1x32` in the crop alone.

Three models stand for other families. `static` is the conv net at twice its width: one generator
makes all kernels but the first, which takes as many parameters to store. `dynamic` is a `HyperLSTM`
that reads parts of a conv net's features by soft attention, four times, each time where its state
points to; `recurrent` is the same with a plain LSTM.

Two combine families. `dynamic_glimpse` is a `HyperLSTM` that places a sparse glimpse four times, by
its state. `generated_classifier` has one glimpse, and a `Hypernetwork` that makes a linear
classifier for each crop from the means of its features.

The columns after the accuracy are of images that the models were not trained for: 16 pieces of
clutter of 6×6 pixels instead of 8 of 8×8, pieces of 9×9, and canvases of 60×60 and 128×128. The
trained weights are set into networks for that size. With the embedded digits the pieces have 4×4
instead of 5×5 pixels, and 6×6, and the canvases 40×40 and 80×80. A network that takes one size
alone has a "–" there.

In `full`, half of the training digits, and of the pieces cut from them, are skewed and bent a
little, gradients are clipped to a norm of 0.5, and convolutions that read glimpses and crops
compute in bfloat16, as do those of the localization network. With several glimpses, the conv net
reads them as channels, and the LSTM reads one after the other.
"""

import numpy as np

from reproductions.engine import training
from reproductions.engine.display import Claim, Display, Headline, Matrix
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = (
    *("cnn", "spatial_transformer", "spatial_transformer_place", "ram_4", "ram_6", "ram_8"),
    *("glimpse_1x16", "glimpse_1x32", "glimpse_8x12", "affine_1x32", "affine_8x12"),
    *("mlp_1x32", "mlp_8x12", "lstm_8x12"),
    *("static", "dynamic", "recurrent"),
    *("dynamic_glimpse", "generated_classifier"),
)
METRICS = {
    "accuracy": "max",
    "more_pieces": "max",
    "larger_pieces": "max",
    "smaller_canvas": "max",
    "larger_canvas": "max",
}
DATA = {
    "digits": "scikit-learn's 8×8 digits, enlarged to 16×16, on a 60×60 canvas; needs no files",
    "mnist": "cluttered MNIST, 100×100, by the generator of Mnih et al. (2014)",
}
# Sides of canvas, digit and pieces stand to each other nearly as in MNIST's, 100 : 28 : 8.
GENERATOR = {
    "digits": dict(scale=2, canvas=60, distractors=8, crop=5, pool=2),
    "mnist": dict(canvas=100, distractors=8, crop=8, pool=4),
}
OTHERS = {
    "digits": dict(
        more_pieces=dict(distractors=16, crop=4),
        larger_pieces=dict(crop=6),
        smaller_canvas=dict(canvas=40),
        larger_canvas=dict(canvas=80),
    ),
    "mnist": dict(
        more_pieces=dict(distractors=16, crop=6),
        larger_pieces=dict(crop=9),
        smaller_canvas=dict(canvas=60),
        larger_canvas=dict(canvas=128),
    ),
}
QUICK = ("cnn", "spatial_transformer", "spatial_transformer_place", "ram_6", "glimpse_1x16")
FAMILIES = ("static", "dynamic", "recurrent")
COMBINATIONS = ("dynamic_glimpse", "generated_classifier")
FULL = tuple(model for model in MODELS if model not in ("glimpse_1x16", *FAMILIES, *COMBINATIONS))
SMALL = dict(
    models=QUICK + FAMILIES + COMBINATIONS,
    data="digits",
    batch=32,
    filters=(16, 24, 32, 48),
    precision="float32",
)
PRESETS = {
    "smoke": SMALL
    | dict(models=(*QUICK, "static", "dynamic", *COMBINATIONS), seeds=1, epochs=2, steps=2)
    | dict(batch=8, valid=20, test=20, canvas=40, others=dict(smaller_canvas=dict(canvas=32))),
    "demo": SMALL
    | dict(models=("cnn", "glimpse_1x16", *FAMILIES), seeds=1, epochs=4, steps=60)
    | dict(valid=500, test=2000, canvas=40, distractors=3, others={}),
    "quick": SMALL | dict(seeds=3, epochs=6, steps=150, valid=1000, test=5000),
    "full": dict(
        models=FULL,
        data="mnist",
        seeds=1,
        more_seeds=dict(glimpse_1x32=3, glimpse_8x12=3, spatial_transformer_place=3),
        epochs=60,
        steps=430,
        batch=128,
        clip=0.5,
        valid=5000,
        test=10000,
        skew=0.15,
        bend=1.5,
        filters=(32, 48, 48, 48),
        precision="mixed_bfloat16",
    ),
}
SEARCH = {
    "*": dict(learning_rate=Range(low=3e-4, high=2e-2, log=True)),
    "glimpse_*": dict(sigma_scale=Range(low=1e-3, high=1e-1, log=True)),
}
# In four epochs of `full` recurrent attention learned alike at 0.001, 0.003 and 0.01.
LEARNING_RATE = {
    "digits": dict(ram=2e-3),
    "mnist": dict(ram=2e-3, spatial_transformer=1e-3),
}
SAMPLING = dict(sigma_scale=0.005)
# Hidden units, which make the parameter counts of a preset's models equal.
UNITS = {
    "digits": dict(
        cnn=120,
        spatial_transformer=42,
        spatial_transformer_place=128,
        ram_6=98,
        glimpse_1x16=128,
        static=64,
        dynamic=51,
        recurrent=66,
        dynamic_glimpse=27,
        generated_classifier=12,
    ),
    "mnist": dict(
        cnn=115,
        spatial_transformer=51,
        ram_4=172,
        ram_6=172,
        ram_8=172,
        glimpse_8x12=105,
        affine_8x12=105,
        mlp_1x32=96,
        mlp_8x12=87,
        lstm_8x12=67,
    ),
}
SLIDES = dict(metric="accuracy", source="Bloem's slides", notes=(1, 2))
RAM = dict(metric="accuracy", source="slundqui/tfRAM", notes=(3,))
OTHER_RAM = dict(metric="accuracy", source="PrincipalComponent/ram", notes=(3,))
PUBLISHED = (
    SLIDES | dict(model="glimpse_1x32", value=0.9915),
    SLIDES | dict(model="glimpse_8x12", value=0.9899),
    RAM | dict(model="cnn", value=0.8378),
    RAM | dict(model="ram_4", value=0.8514),
    RAM | dict(model="ram_6", value=0.917),
    RAM | dict(model="ram_8", value=0.941),
    OTHER_RAM | dict(model="ram_6", value=0.9538),
    OTHER_RAM | dict(model="ram_8", value=0.9732),
    dict(
        model="ram_8", metric="accuracy", value=0.9189, source="Mnih et al. 2014, best", notes=(3,)
    ),
)
CLAIMS = tuple(
    Claim(preset="quick", ours=ours, baseline="glimpse_1x16", what=f"{what} (ours).")
    for ours, what in (
        ("dynamic_glimpse", "Four glimpses placed by a HyperLSTM's state read more than one does"),
        (
            "generated_classifier",
            "A classifier made for each crop reads better than one for all crops, of as many "
            "parameters in all",
        ),
    )
)
DEVIATIONS = (
    'The published code, run with its "final" flag, evaluates on the data it trained on, and its '
    "clutter comes from a generator of its own (rotated and scaled digits, about 10 pieces): these "
    "figures may not be of held-out data. Ours are, with the clutter of Mnih et al. (2014).",
    "Localization network, classifier and training are ours; the localization network starts at "
    "the place where the image is brightest.",
    "Other networks, with more parameters, trained for longer.",
)


# Twice as many channels as the conv net has: that is how far its saved weights go.
WIDE = dict(filters=(32, 64, 96, 128), embedding_dim=64, hidden_dim=34)
READ = 48  # numbers a part that the recurrent networks read
SIDE = 16  # points of a combination's glimpses, along each axis


def configurations(model, preset, data):
    rates = LEARNING_RATE[data]
    settings = dict(
        learning_rate=rates.get(model, rates.get(model.split("_")[0], 5e-3)),
        units=UNITS[data].get(model, 68),
    )
    if model in ("dynamic", "recurrent", "dynamic_glimpse"):
        settings["looks"] = 2 if preset == "smoke" else 4
    canvas = GENERATOR[data] | dict(others=OTHERS[data])
    sparse = model.endswith(("1x16", "1x32", "8x12")) or model in COMBINATIONS
    sampling = SAMPLING if sparse else {}
    return [canvas | PRESETS[preset] | settings | sampling]


def data(name, config, data_dir):
    from reproductions.data import image_batches
    from reproductions.data import images as sources

    splits = sources.digits(config["scale"]) if name == "digits" else sources.mnist(data_dir)
    generator = {key: config[key] for key in ("canvas", "distractors", "crop")}
    counts = config["batch"], config["steps"], config["valid"], config["test"]

    def augment(rng, x):
        return image_batches.skewed(rng, x, config["skew"], config["bend"])

    return image_batches.Cluttered(
        splits, *counts, augment if "skew" in config else None, **generator
    )


def build(model, config, data):
    import keras

    network = network_of(model, config, config["canvas"])
    steps = config["epochs"] * config["steps"]
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=config["learning_rate"], warmup_steps=steps // 10
    )
    adam = keras.optimizers.Adam(rate, global_clipnorm=config.get("clip"))
    training.compile_classifier(network, adam)
    return network


def network_of(model, config, canvas):
    """The model for images of canvas × canvas; its weights fit no other size if it is `cnn`."""
    from reproductions.tasks.attention import combinations, families, networks

    shape, units, pool = (canvas, canvas, 1), config["units"], config["pool"]
    reader = {key: config[key] for key in ("filters", "units", "precision")}
    kind, _, looks = model.partition("_")
    if kind == "cnn":
        from baselines.conv_net import conv_net

        return conv_net(shape, 10, filters=(16, 32, 48, 64), units=units, strides=2)
    if kind == "static":
        return families.static_net(shape, units=units, **WIDE)
    sampling = {key: config[key] for key in SAMPLING if key in config}
    if model == "dynamic_glimpse":
        return combinations.looking_net(shape, SIDE, reader, pool, config["looks"], **sampling)
    if model == "generated_classifier":
        return combinations.generated_classifier_net(shape, SIDE, reader, pool, **sampling)
    if kind in ("dynamic", "recurrent"):
        cell = families.cell(kind, units)
        return families.reading_net(shape, pool, cell, READ, config["looks"])
    if kind == "ram":
        patch, num_scales = (12, 4) if pool == 4 else (8, 3)
        return networks.recurrent_attention(shape, int(looks), patch, num_scales, units)
    if kind == "spatial":
        side, way = 8 * pool, "place" if looks.endswith("place") else "regression"
        return networks.spatial_transformer(shape, side, reader, pool, way)
    count, side = map(int, looks.split("x"))
    source = "affine" if kind == "affine" else "box"
    classifier = kind if kind in ("mlp", "lstm") else "conv"
    return networks.glimpse_net(shape, count, side, classifier, reader, pool, source, **sampling)


def before_epoch(network, epoch, config):
    """Glimpses start blurred, for gradients, and end as sharp as at inference."""
    from reproductions.tasks.attention import looks

    if glimpse := looks.glimpse_of(network):
        sigmas = glimpse.source.sigmas
        sigmas.assign(np.full(sigmas.shape, -5.0 * epoch / config["epochs"]))


def transfer(network, model, data, config):
    """Accuracy on images that the network was not trained for, where it can read them."""
    accuracies = {}
    for metric, change in config["others"].items():
        there = network
        if "canvas" in change:
            there = build(model, config | change, None)
            shapes = [[weight.shape for weight in net.weights] for net in (network, there)]
            if shapes[0] != shapes[1]:
                accuracies[metric] = None
                continue
            there.set_weights(network.get_weights())
        x, y = data.other_test(**change)
        accuracies[metric] = there.evaluate(x, y, batch_size=250, verbose=0, return_dict=True)[
            "accuracy"
        ]
    return accuracies


def generated(network):
    from reproductions.tasks.attention import looks

    return looks.generated_weights(network)


def trace(network, data, config):
    """After each epoch: what is looked at in four test images."""
    from reproductions.tasks.attention import looks

    corners = looks.outlines(network, data.test[0][:4])
    return None if corners is None else np.round(corners, 1).tolist()


def draw(network, data, config, path, traces):
    from reproductions.tasks.attention import looks, plots

    x, y = data.test
    guesses = network.predict(x, batch_size=250, verbose=0).argmax(-1)
    first = looks.outlines(network, x[:16])
    plots.test_images(x[:16], y[:16], guesses[:16], first, path)
    wrong = np.flatnonzero(guesses != y)[:16]
    plots.test_images(
        x[wrong],
        y[wrong],
        guesses[wrong],
        looks.outlines(network, x[wrong]),
        path.with_stem(f"{path.stem}-failures"),
    )
    if first is not None:
        plots.epochs(x[:4], traces, path.with_stem(f"{path.stem}-epochs"))


def plot(records, path):
    from reproductions.plots import classification_error

    classification_error.errors(records, path)


TASK = Task(
    name="attention",
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
            baseline="spatial_transformer_place",
            ours="glimpse_1x32",
            what="cluttered MNIST, 100×100: accuracy",
        ),
        claims=CLAIMS,
        matrix=Matrix(
            what="the digit among clutter, accuracy",
            models={"dense": "cnn", "sparse": "glimpse_1x16"},
            more=COMBINATIONS,
            chance=lambda config: 0.1,
        ),
        families={
            "sparse": ("glimpse_*", "affine_*", "mlp_*", "lstm_*"),
            "static": ("static",),
            "dynamic": ("dynamic", "dynamic_glimpse"),
            "hypernetwork": ("generated_classifier",),
        },
    ),
    configurations=configurations,
    data=data,
    build=build,
    before_epoch=before_epoch,
    generated=generated,
    transfer=transfer,
    trace=trace,
    draw=draw,
    plot=plot,
)
