"""Composing short tunes as knowledge graphs: a sparse autoencoder against models of music.

The third experiment of the 2017 draft of the sparse adaptive hyperlayer. A piece is a graph in the
midi-ld vocabulary: each note has a tick, a pitch, a duration and a velocity, which is a set of
index tuples (note, predicate, object). `sparse_vae` reads and emits tuples by Gaussians in that
index space; `dense_vae` holds it as a tensor, of which `dense_vae_large` is the same with as many
parameters as a hidden width of 128 takes; `lstm`, `hyper_lstm` and `ngram` are language models of
the same numbers, note after note. Models have nearly the same number of trainable
parameters, but for `dense_vae_large`, `ngram` and `real`. `dense_vae` has a few hidden units only,
and is less near. `real` gives training pieces in place of samples: the limit of what samples reach.

`nats` is −log p of a held-out piece, a note, the end of the piece included: exact for the language
models, for autoencoders the importance-weighted bound by 32 draws, which is not below it. All are
probabilities of the same discrete pieces, so they compare. The other metrics are of pieces drawn at
temperature 1. `valid`: the share that, as it was drawn, is RDF, has the vocabulary's shapes (SHACL)
and plays as MIDI. `repaired`: the same once what is no note is left out. After that repair, against
as many held-out pieces: `overlap`, the mean area that histograms of pitch classes, intervals,
lengths and onsets share, each of which follows; `kl`, their mean divergence, in nats; `detectable`,
the accuracy of random forests that tell them from real ones by about 150 numbers a piece, of which
0.5 is best; `rules`, the share that keeps all rules of generated tunes. `latent` is what z tells of
a piece, in nats. `rounded` says that a tuple was not drawn from a Gaussian, but is its mean,
rounded, as a sparse hyperlayer's tuples are at inference: no longer what `nats` is of.

Weights of `dense_vae` are in proportion to the index space, which ends it soon: for 500 notes and
2,048 ticks a width of 128 is 1.05 billion weights, 12.6 GB with Adam's moments, where `sparse_vae`
has 0.33 million.

Nobody has listened to them: `detectable` stands where the draft has human judgment.
"""

import numpy as np

from reproductions.engine.display import Display, Headline
from reproductions.engine.task import Task

MODELS = (*("real", "ngram", "lstm", "hyper_lstm", "dense_vae", "dense_vae_large", "sparse_vae"),)
OVERLAPS = tuple(f"overlap_{name}" for name in ("pitch_class", "interval", "length", "onset"))
ROUNDED = "rounded_valid", "rounded_overlap", "rounded_detectable"
METRICS = {
    **{"nats": "min", "valid": "max", "repaired": "max"},
    **{"overlap": "max", "detectable": "min", "kl": "min"},
    **dict.fromkeys(OVERLAPS, "max"),
    **{"rules": "max", "latent": "max"},
    **dict.fromkeys(ROUNDED, "max") | {"rounded_detectable": "min"},
}
DATA = {
    "generated": "tunes of four bars by rules of scale, meter, motif and cadence; needs no files",
    "nottingham": "phrases of four bars of 1,034 tunes, nottingham*.tar.gz in --data-dir",
    "chorales": "phrases of two bars of Bach's chorales, transposed in training; "
    "Jsb16thSeparated.json in --data-dir",
}
BASE = dict(batch=32, latent=16, free_nats=0.1, clip=1.0)
SMALL = BASE | dict(data="generated", seeds=1, most=22, hidden=96, embedding=24, dropout=0.0)
PRESETS = {
    "smoke": SMALL
    | dict(epochs=1, steps=2, train=40, valid=10, test=10, samples=10, checked=4, draws=2),
    "quick": SMALL
    | dict(epochs=16, steps=100, train=4000, valid=200, test=400)
    | dict(samples=400, checked=200, draws=32),
    "full": BASE
    | dict(data="nottingham", seeds=1, most=48, hidden=160, embedding=32, dropout=0.3)
    | dict(epochs=8, steps=200, orders=[3, 5, 7], train=None, valid=400, test=600)
    | dict(samples=600, checked=300, draws=32),
}
RATES = {"lstm": 1e-2, "hyper_lstm": 1e-2}
# By how many semitones at most. Nottingham has few keys: there moved pieces taught less.
TRANSPOSED = {"chorales": 5}
DRAWN = 4


def configurations(model, preset, data):
    # Larger networks, smaller steps.
    rate = RATES.get(model, 5e-3) * (0.6 if preset == "full" else 1)
    more = dict(transpose=TRANSPOSED[data]) if data in TRANSPOSED else {}
    return [PRESETS[preset] | dict(learning_rate=rate) | more]


def data(name, config, data_dir):
    from reproductions.data import tunes
    from reproductions.data.data_dir import DataError

    try:
        import mido  # noqa: F401
        import pyshacl  # noqa: F401
        import rdflib  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"The task `music` needs {error.name}: pip install mido rdflib pyshacl"
        ) from None
    readers = {"nottingham": tunes.nottingham, "chorales": tunes.chorales}
    splits = readers[name](data_dir) if name in readers else tunes.generated(config)
    phrases = tunes.Phrases(splits, config)
    phrases.by_rules = name == "generated"
    return phrases


def build(model, config, data):
    from reproductions.tasks.music import models

    network = models.network(model, config, data)
    steps = config["epochs"] * config["steps"]
    network.compile_with(config["learning_rate"], steps, config["clip"])
    return network


def before_epoch(network, epoch, config):
    """The KL's weight grows to 1 over the first fifth of the epochs."""
    network.beta.assign(min(1.0, (epoch + 1) / max(1, config["epochs"] // 5)))


def evaluate(network, x, y, config):
    return {"nats": network.nats(x).sum() / y.sum()}


def transfer(network, model, data, config):
    """What is measured once, at the end: samples, and tighter bounds."""
    from reproductions.data import tunes
    from reproductions.tasks.music import metrics

    figures = dict.fromkeys(("latent", *ROUNDED))
    if model == "real":
        figures["nats"] = None
    if hasattr(network, "tight_nats"):
        x, notes = data.test
        figures["nats"] = float(network.tight_nats(x, config["draws"]).sum() / notes.sum())
        figures["latent"] = network.latent_nats(x)
    drawn = network.sample(config["samples"], seed=1)
    pieces = [tunes.repaired(triples)[0] for triples in drawn]
    checked = drawn[: config["checked"]]
    valid = [tunes.playable(triples) for triples in checked]
    mended = [
        good or tunes.playable(tunes.triples(piece))
        for good, piece in zip(valid, pieces, strict=False)
    ]
    figures |= {"valid": float(np.mean(valid)), "repaired": float(np.mean(mended))}
    real = data.splits["test"]
    figures |= metrics.likeness(real, pieces)
    figures["detectable"] = metrics.detectable(real, pieces)
    kept = [not tunes.broken_rules(piece) for piece in pieces]
    figures["rules"] = float(np.mean(kept)) if data.by_rules else None
    if model == "sparse_vae":
        drawn = network.sample(config["samples"], seed=1, rounded=True)
        pieces = [tunes.repaired(triples)[0] for triples in drawn]
        valid = [tunes.playable(triples) for triples in drawn[: config["checked"]]]
        figures["rounded_valid"] = float(np.mean(valid))
        figures["rounded_overlap"] = metrics.likeness(real, pieces)["overlap"]
        figures["rounded_detectable"] = metrics.detectable(real, pieces)
    return figures


def draw(network, data, config, path, traces):
    """Piano rolls beside real ones; the first pieces as `.mid`, `.ttl` and, one after the other,
    as `.wav`, as far as they play."""
    from reproductions.data import midi_ld, tunes
    from reproductions.engine import atomic_files
    from reproductions.tasks.music import plots

    drawn = network.sample(3 * DRAWN, seed=1)
    pieces = [tunes.repaired(triples)[0] for triples in drawn]
    rows = {"real": data.splits["test"][:DRAWN], network.name: pieces[:DRAWN]}
    plots.piano_rolls(rows, path)
    playing = [triples for triples in drawn if tunes.playable(triples)][:DRAWN]
    if not playing or (network.name == "real" and not data.by_rules):  # a set is not copied
        return
    graph = tunes.to_graph(playing[0])
    midi = midi_ld.midi_bytes(midi_ld.from_graph(graph))
    atomic_files.write(path.with_suffix(".ttl"), graph.serialize(format="turtle").encode())
    atomic_files.write(path.with_suffix(".mid"), midi)
    try:
        import pretty_midi  # noqa: F401
    except ImportError:
        return
    atomic_files.write(path.with_suffix(".wav"), plots.sound(midi))


def plot(records, path):
    from reproductions.tasks.music import plots

    plots.comparison(records, MODELS, path)


TASK = Task(
    name="music",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="lstm",
            ours="sparse_vae",
            what="tunes of Nottingham: nats a note (lower is better)",
            data="nottingham",
        ),
        families={"sparse": ("sparse_vae",), "dynamic": ("hyper_lstm",), "bound": ("real",)},
        only={"latent": ("*_vae*",), "rounded_*": ("sparse_vae",)},
        no_parameters=("real", "ngram"),
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    before_epoch=before_epoch,
    transfer=transfer,
    draw=draw,
    plot=plot,
)
