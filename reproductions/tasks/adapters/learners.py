"""Training in the adapters task: the language model first, then what fits it to domains."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache

import keras
import numpy as np

from reproductions.tasks.adapters import networks

WARM_UP, DECAY, CLIP = 50, 0.01, 1.0
# What the language model, and one adapter for each domain, depend on.
BASE = ("layers", "width", "heads", "length", "batch", "base_steps", "base_rate", "compiled")
REFERENCES = ("none", "own_lora")  # depend on these:
OWN = (*BASE, "rank", "rows", "own_steps", "own_rate")


def prepare(network, steps, rate, compiled):
    """Make ready for so many batches: the rate rises for some steps and falls to a tenth."""
    warm_up = min(WARM_UP, steps // 2)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, alpha=0.1, warmup_target=rate, warmup_steps=warm_up
    )
    network.compile(
        keras.optimizers.AdamW(schedule, weight_decay=DECAY, global_clipnorm=CLIP),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=compiled,
    )


def fit(network, batches, steps):
    network.fit(batches, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)


def bits(network, x, y):
    """Mean bits of each byte in y [n, t], from x or (condition, x)."""
    scores = network.predict_on_batch(x)
    highest = scores.max(-1)
    sums = np.exp(scores - highest[..., None]).sum(-1)
    chosen = np.take_along_axis(scores, y[..., None], -1)[..., 0]
    nats = np.log(sums) + highest - chosen
    return float(nats.mean(dtype="float64") / np.log(2))


@lru_cache(maxsize=8)
def _base(key, seed, data):
    """The language model's weights, trained once in a process for all runs of a seed."""
    config = json.loads(key)
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    network, rng = networks.language_model(config), np.random.default_rng([0, seed])

    def batches():
        while True:
            yield data.windows(rng, rng.choice(data.trained, config["batch"]))

    prepare(network, config["base_steps"], config["base_rate"], config["compiled"])
    fit(network, batches(), config["base_steps"])
    return network.get_weights()


def base_weights(config, seed, data):
    return _base(json.dumps({key: config[key] for key in BASE}), seed, data)


@dataclass(frozen=True)
class Outcome:
    """Bits a byte of each domain: of validation and test text, and with a wrong condition."""

    valid: dict[str, float]
    test: dict[str, float]
    wrong: dict[str, float] | None
    parameters: dict[str, int]


def outcome(model, config, seed, data):
    """What a model comes to; those that others are compared with learn once in a process."""
    if model in REFERENCES:
        return _reference(model, json.dumps({key: config[key] for key in OWN}), seed, data)
    return _outcome(model, config, seed, data)


@lru_cache(maxsize=16)
def _reference(model, key, seed, data):
    return _outcome(model, json.loads(key), seed, data)


def _outcome(model, config, seed, data):
    learner = LEARNERS[model](config, seed, data)
    learner.learn()
    wrong = learner.bits("test", wrong=True) if learner.conditioned else None
    return Outcome(learner.bits("valid"), learner.bits("test"), wrong, learner.parameters())


class Learner:
    """The language model as it is, and the base of what adapts it.

    Args:
        config: The run's configuration.
        seed: The run's seed.
        data: The texts, a `Domains`.
    """

    trains, conditioned = False, False
    rate = "rate"

    def __init__(self, config, seed, data):
        self.config, self.seed, self.data = config, seed, data
        base = base_weights(config, seed, data)
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        self.base = networks.language_model(config)
        self.base.set_weights(base)
        self.network = self.make()

    def make(self):
        return self.base

    def learn(self):
        """Train what is to be trained."""
        if self.trains:
            self.fit(self.batches(), self.config["steps"], self.config[self.rate])

    def fit(self, batches, steps, rate):
        prepare(self.network, steps, rate, self.config["compiled"])
        fit(self.network, batches, steps)

    def batches(self):
        """Endless batches of random domains that are trained on."""
        rng = np.random.default_rng([1, self.seed])
        data, config = self.data, self.config
        while True:
            names = rng.choice(data.trained, config["batch"])
            x, y = data.windows(rng, names)
            yield self.inputs(self.conditions(rng, names), x), y

    def conditions(self, rng, names):
        """A condition for each of some domains."""

    def inputs(self, condition, x):
        return x if condition is None else (condition, x)

    def bits(self, split, wrong=False):
        """{domain: bits a byte}; `wrong`: with the condition of another domain."""
        rng, found = np.random.default_rng(2), {}
        names = self.data.evaluated
        for name, other in zip(names, names[1:] + names[:1], strict=True):
            x, y = self.data.held(split, name)
            condition = self.conditions(rng, [other if wrong else name] * len(x))
            found[name] = bits(self.network, self.inputs(condition, x), y)
        return found

    def parameters(self):
        """Trained numbers of all domains together, and generated ones of a condition."""
        trained = sum(math.prod(weight.shape) for weight in self.network.trainable_weights)
        return {"trainable": trained, "generated": getattr(self.network, "num_generated", 0)}


class SharedLoRA(Learner):
    """One adapter for all domains."""

    trains, rate = True, "lora_rate"

    def make(self):
        return networks.with_lora(self.base, self.config["rank"])


class OwnLoRA(Learner):
    """An adapter for each domain, side by side: a batch has the same number of rows of each."""

    def make(self):
        count = len(self.data.evaluated)
        return networks.own_adapters(self.base, self.config["rank"], count)

    def learn(self):
        self.fit(self.batches(), self.config["own_steps"], self.config["own_rate"])

    def batches(self):
        rng = np.random.default_rng([1, self.seed])
        names = list(self.data.evaluated) * self.config["rows"]
        while True:
            x, y = self.data.windows(rng, names)
            yield (self.conditions(rng, names), x), y

    def conditions(self, rng, names):
        return np.array([self.data.evaluated.index(name) for name in names], "int32")


class OwnNetwork(Learner):
    """The whole language model, trained further on each domain alone."""

    def learn(self):
        """Domain after domain, each from the start; its bits are noted, its network is not kept."""
        network, steps = self.network, self.config["own_steps"]
        prepare(network, steps, self.config["whole_rate"], self.config["compiled"])
        network.optimizer.build(network.trainable_variables)
        variables = [*network.variables, *network.optimizer.variables]
        start = [variable.numpy() for variable in variables]
        self.found = {"valid": {}, "test": {}}
        for name in self.data.evaluated:
            for variable, value in zip(variables, start, strict=True):
                variable.assign(value)
            fit(network, self.batches_of(name), steps)
            for split, found in self.found.items():
                found[name] = bits(network, *self.data.held(split, name))

    def batches_of(self, name):
        rng = np.random.default_rng([1, self.seed])
        while True:
            yield self.data.windows(rng, [name] * self.config["rows"])

    def bits(self, split, wrong=False):
        return self.found[split]

    def parameters(self):
        parameters = super().parameters()
        return parameters | {"trainable": parameters["trainable"] * len(self.data.evaluated)}


class FromText(Learner):
    """The adapter from some bytes of the domain's training text."""

    trains, conditioned = True, True

    def make(self):
        config = self.config
        return networks.from_text(self.base, config["rank"], config["text"], config["features"])

    def conditions(self, rng, names):
        return self.data.texts(rng, names, self.config["text"])


class FromNumber(Learner):
    """The adapter from the domain's embedding; that of a new domain is tuned afterwards."""

    trains, conditioned = True, True

    def make(self):
        config = self.config
        count = len(self.data.parts)
        return networks.from_number(self.base, config["rank"], count, config["features"])

    def learn(self):
        super().learn()
        self.trained = super().parameters()
        data, table = self.data, self.network.body.layers[0].embeddings
        old, new = self.conditions(None, data.trained), self.conditions(None, data.held_out)
        values = table.numpy()
        values[new] = values[old].mean(axis=0)
        table.assign(values)
        self.network.head.trainable = self.network.body.layers[1].trainable = False
        self.fit(self.tuning(), self.config["tuning_steps"], self.config["tuning_rate"])
        tuned = table.numpy()
        tuned[old] = values[old]  # which weight decay has moved
        table.assign(tuned)

    def parameters(self):
        return self.trained

    def tuning(self):
        """Batches of the first bytes of each new domain."""
        rng = np.random.default_rng([3, self.seed])
        names = list(self.data.held_out) * 4
        while True:
            x, y = self.data.windows(rng, names, self.config["tuning_bytes"])
            yield (self.conditions(rng, names), x), y

    def conditions(self, rng, names):
        return np.array([self.data.names.index(name) for name in names], "int32")


LEARNERS = {
    "none": Learner,
    "shared_lora": SharedLoRA,
    "own_lora": OwnLoRA,
    "own_network": OwnNetwork,
    "from_embedding": FromNumber,
    "from_text": FromText,
}
