"""A task small enough to be run many times: what the harness's tests train."""

import json

import keras
import numpy as np

from reproductions.engine import harness, records
from reproductions.engine.records import KEYS
from reproductions.engine.run_options import RunOptions
from reproductions.engine.task import Task


class ToyData:
    """Sums of three numbers, new ones each epoch."""

    interrupt_at = None

    def __init__(self):
        self.valid, self.test = (self.draw(np.random.default_rng(seed)) for seed in (1, 2))

    def draw(self, rng, count=16):
        x = rng.normal(size=(count, 3)).astype("float32")
        return x, x.sum(1, keepdims=True)

    def train(self, seed, epoch):
        if epoch == self.interrupt_at:
            raise KeyboardInterrupt
        rng = np.random.default_rng([seed, epoch])
        for _ in range(4):
            yield self.draw(rng)


def toy_task():
    """A task with all that a resumed run could lose: dropout, batch norm, Adam, a schedule."""
    source = ToyData()

    def build(model, config, data):
        network = keras.Sequential(
            [
                keras.Input(config["shape"]),
                keras.layers.Dense(config["units"] * (2 if model == "wide" else 1)),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.3),
                keras.layers.Dense(1),
            ]
        )
        rate = keras.optimizers.schedules.CosineDecay(0.05, 16)
        average = config.get("average")
        adam = keras.optimizers.Adam(rate, use_ema=average is not None, ema_momentum=average or 0.9)
        network.compile(adam, "mse", metrics=["mse"], run_eagerly=True)
        return network

    task = Task(
        name="toy",
        about="Toy: a line.\n\nMore of it.",
        models=("small", "wide"),
        metrics={"mse": "min"},
        labels=("units",),
        data_sets={"sums": "sums of three numbers"},
        presets={
            "quick": dict(data="sums", seeds=2, epochs=4, steps=4, units=3, shape=(3,)),
            "full": dict(data="sums", seeds=2, epochs=9, steps=4, units=9, shape=(3,)),
        },
        published=(
            dict(model="small", metric="mse", value=0.5, source="A book", notes=(1,)),
            dict(model="other", metric="mse", value=0.25, source="B", preset="quick", units=3),
        ),
        deviations=("Another norm.",),
        data=lambda name, config, data_dir: source,
        build=build,
    )
    task.source = source  # for the tests
    return task


def run_toy(task, folder, models=("small",), preset="quick", **options):
    options = RunOptions(preset=preset, data="sums", folder=folder / "toy" / preset, **options)
    return harness.run(task, models, options)


def read(folder, name="toy/quick/small-units3-sums-seed0.json"):
    return json.loads((folder / name).read_text())


def toy_record(task, seed, mse, model="small", preset="quick", **changes):
    (config,) = task.settings(model, preset, "sums")
    record = dict.fromkeys(KEYS) | dict(task="toy", model=model, preset=preset, data="sums")
    record |= dict(seed=seed, config=config, device="a chip", versions={"keras": "3"}, seconds=4)
    metrics = {"valid": {"mse": mse, "epoch": 1, "curve": [mse]}, "test": {"mse": mse}}
    record |= dict(metrics=metrics, parameters={"trainable": 1234, "generated": 0})
    return record | {"status": "finished"} | changes


def write(task, root, *found):
    for one in found:
        path = root / "toy" / one["preset"] / records.file_name(task, one)
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write(path, one)
