"""Handwriting and drawings: HyperLSTMs against LSTMs of as many parameters.

The experiment is that of Ha, Dai & Le (2016). A recurrent layer reads a pen's offsets, and gives
for the next one a mixture of 20 Gaussians and the probability that the pen lifts (Graves 2013).
`nats` is the log-loss of a whole drawing, summed over its points, mean over drawings; offsets are
in units of their standard deviation in training. Lower is better, and densities make it negative.
Words of the test occur in no other split. Drawings have no end of their own: a network draws about
as many points as a real one has.

Learning rates were chosen on validation data of seed 0 by short runs of `layer_norm_lstm` and
`hyper_lstm`, and are the same for all.

A picture shows real drawings beside a network's own. `python -m reproductions page strokes` makes
an HTML page of each HyperLSTM's, which draws them while four bars show how its weights change.
"""

import numpy as np

from reproductions.engine.display import Display, Headline
from reproductions.engine.task import Task

MODELS = ("lstm", "layer_norm_lstm", "hyper_lstm", "layer_norm_hyper_lstm")
METRICS = {"nats": "min"}
DATA = {
    "words": "short words in outlined letters of two fonts, slanted and shaken; needs no files",
    "kanji": "10,000 kanji as polylines, from kanji.rdp100.npz",
    "omniglot": "30,000 letters of 50 alphabets, from omniglot.npz",
}
# `valid`, `test`: how many words are drawn, or stored drawings taken at most.
BASE = dict(mixtures=20, dropout=0.05, clip=5.0, scaling=0.1)
SMALL = BASE | dict(data="words", pad=36, hyper_units=16, embedding_dim=4, learning_rate=3e-2)
PRESETS = {
    "smoke": SMALL | dict(seeds=1, epochs=2, steps=2, batch=8, valid=20, test=20, pad=112),
    "quick": SMALL | dict(seeds=3, epochs=24, steps=150, batch=32, valid=400, test=1000),
    "full": BASE
    | dict(
        data="kanji",
        pad=16,
        seeds=1,
        epochs=32,
        steps=160,
        batch=64,
        valid=1000,
        test=1000,
        learning_rate=2e-2,
        hyper_units=48,
        embedding_dim=4,
    ),
}
# Units of the large network, which make the parameter counts of a preset's models equal.
UNITS = {
    16: dict(lstm=123, layer_norm_lstm=122, hyper_lstm=110, layer_norm_hyper_lstm=109),
    48: dict(lstm=232, layer_norm_lstm=231, hyper_lstm=200, layer_norm_hyper_lstm=199),
}
IAM = dict(metric="nats", source="the paper, IAM handwriting, validation", notes=(1,))
PUBLISHED = (
    IAM | dict(model="lstm", value=-1055),
    IAM | dict(model="layer_norm_lstm", value=-1096),
    IAM | dict(model="hyper_lstm", value=-1162),
    IAM | dict(model="layer_norm_hyper_lstm", value=-1067),
)
DEVIATIONS = (
    "Other data, for orientation only: lines of handwriting, about twenty times as many points, so "
    "that neither size nor differences of these figures compare with ours. 900 units, the small "
    "network 128, rate 1e-4, dropout and scaling as here.",
)
DRAWN, TEMPERATURE = 12, 0.5


def configurations(model, preset, data):
    settings = PRESETS[preset]
    return [settings | dict(units=UNITS[settings["hyper_units"]][model])]


def data(name, config, data_dir):
    from reproductions.data import pen_strokes

    return (
        pen_strokes.words(config) if name == "words" else pen_strokes.stored(name, config, data_dir)
    )


def build(model, config, data):
    from reproductions.tasks.strokes import networks

    network = networks.network(model, config)
    networks.compile_network(network, config)
    return network


def evaluate(network, x, y, config):
    return network.evaluate(x, y, batch_size=100, verbose=0, return_dict=True)


def generated(network):
    """A scale a row of eight matrices, and four shifts, at each point."""
    layer = network.get_layer("recurrent")
    return 12 * layer.cell.units if hasattr(layer.cell, "hyper_cell") else 0


def draw(network, data, config, path, traces):
    """Real drawings beside the network's own at two temperatures; what a HyperLSTM's page shows."""
    from reproductions.tasks.strokes import networks, plots

    real = [drawing[drawing[:, 3] > 0, :3] for drawing in data.test[1][:DRAWN]]
    steps = int(np.mean([len(drawing) for drawing in real])) + 16
    rows, changes = {"real": real[:8]}, None
    for temperature in (1.0, TEMPERATURE):
        points, all_changes = networks.draw(network, DRAWN, steps, temperature)
        own = [
            drawing[: 1 + max(np.flatnonzero(drawing[:, 2]), default=steps)] for drawing in points
        ]
        rows[f"drawn, T = {temperature:g}"] = own[:8]
    if all_changes is not None:
        all_changes = [
            change[: len(drawing)] for change, drawing in zip(all_changes, own, strict=True)
        ]
        changes = all_changes[0]
        about = (
            f"Drawn point by point by the model {network.name}. Temperature {TEMPERATURE}: "
            "likely points are preferred."
        )
        plots.store(own, all_changes, about, path.parent / "drawings" / f"{path.stem}.json")
    plots.samples(rows, changes, path)


def pages(folder):
    from reproductions.tasks.strokes import plots

    return [
        plots.page(stored, folder / f"{stored.stem}.html")
        for stored in sorted(folder.glob("drawings/*.json"))
    ]


TASK = Task(
    name="strokes",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    display=Display(
        headline=Headline(
            preset="quick",
            baseline="layer_norm_lstm",
            ours="hyper_lstm",
            what="outlined words, pen strokes: nats a drawing (lower is better)",
        ),
        families={"dynamic": ("*hyper_lstm",)},
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    generated=generated,
    draw=draw,
    pages=pages,
)
