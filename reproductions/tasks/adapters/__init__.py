"""Adapters of a language model for languages that it knows a little: who writes the best ones?

A GPT-2 on bytes, of KerasHub, is trained on many languages at once, then frozen. LoRA adapters of
rank r in its attention and dense layers fit it to a language:

* `none`: no adapter;
* `shared_lora`: one adapter for all languages;
* `own_lora`: an adapter for each language, trained on that language alone;
* `own_network`: the whole model trained further on each language alone;
* `from_embedding`: a hypernetwork that writes the adapter from a learned embedding of the language.
  Of a held-out language the embedding alone is tuned, on 4 kB;
* `from_text`: a hypernetwork that writes the adapter from 256 bytes of the language. Nothing is
  tuned for a held-out language.

Texts are Django's messages in their translations. The same messages are tested in all languages,
and none of them is trained on in any language. 13 languages are held out of all training but
`own_lora`'s and `own_network`'s, which are bounds for them.

`seen` and `held_out` are bits a byte, the mean over 12 languages of the training and over the 13.
`related` is of those held out that have a related language in the training, `script` of those with
only its script there, `alone` of Thai, whose script is new. `part_*` is the part that a model has
of what `own_lora` gains over `none`. With `wrong_*` each language is given the condition of another
one: a model that uses its condition is worse there.
"""

from functools import cache

import numpy as np

from reproductions.engine.display import Claim, Display, Headline
from reproductions.engine.task import Task

MODELS = ("none", "shared_lora", "own_lora", "own_network", "from_embedding", "from_text")
METRICS = {
    "seen": "min",
    "part_seen": "max",
    "held_out": "min",
    "related": "min",
    "part_related": "max",
    "script": "min",
    "alone": "min",
    "wrong_seen": "min",
    "wrong_related": "min",
}
DATA = {"languages": "Django's messages in 81 languages, from its package; needs no files"}
# Trained on, and tested as seen ones: of several families and scripts.
SEEN = ("ar", "de", "el", "es", "fi", "he", "hi", "hu", "ja", "ko", "ru", "tr")
SMALL = dict(
    data="languages",
    seeds=3,
    layers=3,
    width=96,
    heads=4,
    length=64,
    batch=32,
    base_steps=1500,
    base_rate=2e-3,
    rank=4,
    steps=1200,
    rate=1e-3,
    lora_rate=3e-3,
    rows=8,
    own_steps=120,
    own_rate=3e-3,
    whole_rate=1e-3,
    text=256,
    features=32,
    tuning_bytes=4096,
    tuning_steps=80,
    tuning_rate=1e-2,
    windows=64,
    compiled=True,
)
TINY = dict(layers=1, width=16, heads=2, length=16, batch=4, rows=1, text=32, features=4)
TINY |= dict(seeds=1, base_steps=4, steps=4, own_steps=4, tuning_steps=2, windows=2)
TINY |= dict(compiled=False, trained=SEEN)
PRESETS = {
    "smoke": SMALL | TINY,
    "quick": SMALL,
    "full": SMALL
    | dict(
        layers=4, width=128, length=128, base_steps=4000, steps=2000, own_steps=150, windows=128
    ),
}


class Domains:
    """Texts of domains, some of them held out: {domain: {split: bytes}}."""

    def __init__(self, parts, held_out, seen, length, windows):
        self.parts, self.length, self.count = parts, length, windows
        self.names = sorted(parts)
        self.held_out = [name for name in held_out if name in parts]
        self.trained = [name for name in self.names if name not in held_out]
        self.seen = list(seen)
        self.evaluated = [*self.seen, *self.held_out]

    def windows(self, rng, names, first=None):
        """Random places of the training text, or its `first` bytes: x, y, the next byte."""
        both = self._cut(rng, names, self.length + 1, first)
        return both[:, :-1], both[:, 1:]

    def texts(self, rng, names, length):
        """`length` bytes from random places of the training text of each domain."""
        return self._cut(rng, names, length)

    def _cut(self, rng, names, length, first=None):
        rows = []
        for name in names:
            text = self.parts[name]["train"][:first]
            start = rng.integers(0, len(text) - length)
            rows.append(text[start : start + length])
        return np.array(rows, "int32")

    def held(self, split, name):
        """Parts of the validation or test text from all over it, as many for each domain."""
        text = self.parts[name][split].astype("int32")
        starts = np.linspace(0, len(text) - self.length - 1, self.count).round().astype(int)
        both = text[starts[:, None] + np.arange(self.length + 1)]
        return both[:, :-1], both[:, 1:]


@cache
def _languages(trained, length, windows):
    """One object for all runs, so that they share what is trained once."""
    from reproductions.data import languages

    names = trained and (*trained, *languages.HELD_OUT)
    return Domains(languages.messages(names), languages.HELD_OUT, SEEN, length, windows)


def data(name, config, data_dir):
    trained = tuple(config.get("trained", ())) or None
    return _languages(trained, config["length"], config["windows"])


def groups(found):
    """Mean bits of the groups of languages."""
    from reproductions.data import languages

    members = dict(
        seen=SEEN,
        held_out=languages.HELD_OUT,
        related=languages.RELATED,
        script=languages.SCRIPT,
        alone=languages.ALONE,
    )
    return {
        group: float(np.mean([found[name] for name in names])) for group, names in members.items()
    }


def measure(model, config, seed, data):
    from reproductions.tasks.adapters import learners

    run = learners.outcome(model, config, seed, data)
    test = groups(run.test)
    plain, own = (
        groups(learners.outcome(name, config, seed, data).test) for name in learners.REFERENCES
    )
    wrong = groups(run.wrong) if run.wrong else {}
    for group in ("seen", "related"):
        gain = plain[group] - test[group]
        test[f"part_{group}"] = gain / (plain[group] - own[group])
        test[f"wrong_{group}"] = wrong.get(group)
    return {
        "metrics": {"valid": groups(run.valid) | {"domains": run.test}, "test": test},
        "parameters": run.parameters,
    }


def plot(records, path):
    """What each model gains on each language over the model without an adapter."""
    from matplotlib.figure import Figure

    from reproductions.data import languages

    groups = dict(
        seen=SEEN, related=languages.RELATED, others=(*languages.SCRIPT, *languages.ALONE)
    )
    names = [name for members in groups.values() for name in members]
    runs = {}
    for record in records:
        bits = record["metrics"]["valid"]["domains"]
        runs.setdefault(record["model"], {})[record["seed"]] = [bits[name] for name in names]
    base = runs.pop("none", None)
    if base is None:
        return
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for model, marker in zip(MODELS[1:], "ov^sD", strict=True):
        gains = [
            np.subtract(base[seed], values)
            for seed, values in runs.get(model, {}).items()
            if seed in base
        ]
        if gains:
            axes.plot(np.mean(gains, axis=0), marker, label=model, alpha=0.8)
    for at in np.cumsum([len(members) for members in groups.values()])[:-1]:
        axes.axvline(at - 0.5, color="gray", linewidth=0.8)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(ylabel="bits a byte saved", xlabel=" | ".join(groups))
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=90)


WRITERS = ("from_embedding", "from_text")
CLAIMS = tuple(
    Claim(preset="quick", **asked)
    for asked in (
        dict(
            what="For a held-out language with a relative in the training, an adapter written from "
            "a few lines is better than one adapter for all (zero-shot adapters, as in "
            "Text-to-LoRA, Charakorn et al. 2025).",
            ours="from_text",
            baseline="shared_lora",
            metric="related",
        ),
        dict(
            what="So it is over all held-out languages.",
            ours="from_text",
            baseline="shared_lora",
            metric="held_out",
        ),
        dict(
            what="With an embedding tuned on a few kilobytes, too.",
            ours="from_embedding",
            baseline="shared_lora",
            metric="held_out",
        ),
        dict(
            what="On languages of the training, adapters that one hypernetwork writes are as good "
            "as a LoRA for each, or better.",
            ours="from_embedding",
            baseline="own_lora",
            level=True,
        ),
    )
)
TASK = Task(
    name="adapters",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    display=Display(
        headline=Headline(
            preset="quick",
            baseline="shared_lora",
            ours="from_text",
            what="bits a byte of held-out languages related to trained ones (lower is better)",
            metric="related",
        ),
        claims=CLAIMS,
        families={"hypernetwork": WRITERS, "bound": ("none", "own_*")},
        only={"wrong_seen": WRITERS, "wrong_related": WRITERS},
        no_parameters=("none",),
    ),
    data=data,
    plot=plot,
    measure=measure,
)
