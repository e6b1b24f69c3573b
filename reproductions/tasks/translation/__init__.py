"""Translating with HyperLSTMs in place of LSTMs.

An encoder and a decoder with attention, of which each recurrent layer is an LSTM, or a HyperLSTM
(Ha, Dai & Le 2016), in which a small network changes the weights of a large one at each step; both
with and without layer norm. All models have nearly the same number of parameters and see the same
pairs in the same order. The encoder reads a sentence in both directions; the decoder asks for what
it needs by attention after its recurrence.

`nats` is the cross-entropy of a piece of the reference, in nats, where those before it are given.
`bleu` is of the test sentences' translations by beam search, as SacreBLEU counts it; its signature
is in the record. `bleu_greedy` takes the likeliest piece at each step. `bleu_other` is of other
test sentences. Weights are chosen by `nats` on validation data.

The data `made` are two languages made by rules, where each sentence has one translation: the order
of words differs, words agree in number and gender, and some translations depend on another word.
The other test sentences hold pairs of noun and adjective that are in no training sentence. Of
Multi30k, captions of photographs, the test is that of 2016, and the other one that of 2017.

The learning rate is hardly tuned: for the layer-norm HyperLSTM it was better than twice that rate.
"""

from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task
from reproductions.engine.tuning.space import Range

MODELS = ("lstm", "layer_norm_lstm", "hyper_lstm", "layer_norm_hyper_lstm")
METRICS = {"nats": "min", "bleu": "max", "bleu_greedy": "max", "bleu_other": "max"}
DATA = {
    "made": "two languages made by rules; needs no files",
    "multi30k_de_en": "Multi30k, German to English: train.de.gz, train.en.gz and so on",
    "multi30k_en_fr": "Multi30k, English to French",
}
TRAINING = dict(clip=1.0, beam=5, alpha=0.6)
SMALL = TRAINING | dict(data="made", dim=64, lengths=(16, 24))
PRESETS = {
    "smoke": SMALL
    | dict(seeds=1, epochs=2, steps=2, batch=8, pieces=500, sentences=8, dropout=0.0)
    | dict(learning_rate=5e-3, lengths=(24,), beam=2),
    "quick": SMALL
    | dict(seeds=3, epochs=12, steps=80, batch=64, pieces=500, sentences=None)
    | dict(dropout=0.1, learning_rate=5e-3),
    "full": TRAINING
    | dict(data="multi30k_de_en", seeds=3, epochs=10, steps=220, batch=128, pieces=4000)
    | dict(sentences=None, dim=192, dropout=0.3, learning_rate=2e-3, lengths=(16, 24, 48)),
}
SEARCH = {
    "*": dict(
        learning_rate=Range(low=5e-4, high=2e-2, log=True),
        dropout=Range(low=0.0, high=0.5),
    )
}
SIZES = {
    "small": dict(
        lstm=dict(units=96),
        layer_norm_lstm=dict(units=96),
        hyper_lstm=dict(units=83, hyper_units=16, embedding_dim=4),
        layer_norm_hyper_lstm=dict(units=83, hyper_units=16, embedding_dim=4),
    ),
    "full": dict(
        lstm=dict(units=192),
        layer_norm_lstm=dict(units=192),
        hyper_lstm=dict(units=165, hyper_units=32, embedding_dim=8),
        layer_norm_hyper_lstm=dict(units=165, hyper_units=32, embedding_dim=8),
    ),
}
GNMT = (("LSTM", 38.95), ("layer-norm HyperLSTM", 40.03))
NOTEBOOKS = (
    ("two-layer LSTM without attention", 13.76, (2, 3)),
    ("GRU with the context at each step", 20.61, (2, 3)),
    ("bidirectional GRU with attention", 28.30, (2, 3)),
    ("the same on packed sequences", 28.11, (2,)),
    ("transformer", 36.52, (2,)),
)
PUBLISHED = (
    *(
        dict(model=f"GNMT of {name}s, WMT'14 en-fr", metric="bleu", value=value)
        | dict(source="the paper", notes=(1,))
        for name, value in GNMT
    ),
    *(
        dict(model=f"{name}, words", metric="bleu", value=value)
        | dict(source="bentrevett/pytorch-seq2seq", notes=notes)
        for name, value, notes in NOTEBOOKS
    ),
)
DEVIATIONS = (
    "GNMT on WMT'14 English to French, newstest2014, with 32,000 wordpieces; its layer-norm "
    "HyperLSTM has as many units as its LSTM, and so more parameters: a small network of 128 units "
    "and embeddings of 32. Ours is one layer each way on Multi30k's 29,000 pairs of captions, of "
    "equal parameters, so that only the difference of two models compares.",
    "The same pairs of Multi30k, German to English, and the same test sentences, but lower-cased "
    "words that are seen twice or more instead of pieces, and BLEU of lower-cased words by another "
    "program. 14 to 20 million parameters where they are told.",
    "The translation so far was the reference's in half of the training steps, and the network's "
    "own in the others.",
)
CLAIMS = tuple(
    Claim(preset=preset, ours=ours, baseline=baseline, metric="bleu", what=f"{what} ({where}).")
    for preset, where in (("full", "Multi30k"), ("quick", "made languages"))
    for ours, baseline, what in (
        (
            "layer_norm_hyper_lstm",
            "layer_norm_lstm",
            "Layer-norm HyperLSTMs translate better than LSTMs with layer norm, of as many "
            "parameters; the paper (Ha, Dai & Le 2016) says so of larger ones in GNMT",
        ),
        ("hyper_lstm", "lstm", "So they do without layer norm"),
    )
)


def configurations(model, preset, data):
    return [PRESETS[preset] | SIZES["full" if preset == "full" else "small"][model]]


def data(name, config, data_dir):
    from reproductions.data.sentence_pairs import made_languages, multi30k, pair_batches

    if name == "made":
        splits = made_languages.made_pairs()
    else:
        splits = multi30k.multi30k(*name.split("_")[1:], data_dir)
    if config["sentences"]:  # of each split that is tested, so that a run takes seconds
        splits = {
            split: pairs if split == "train" else tuple(p[: config["sentences"]] for p in pairs)
            for split, pairs in splits.items()
        }
    keys = "pieces", "batch", "steps", "lengths"
    return pair_batches.SentencePairs(splits, **{key: config[key] for key in keys})


def build(model, config, data):
    import keras

    from reproductions.tasks.translation import networks

    hyper = {key: config[key] for key in ("hyper_units", "embedding_dim") if key in config}
    encoder, decoder = (
        networks.recurrent_layer(model, config["units"], **hyper, dropout=config["dropout"])
        for _ in range(2)
    )
    size = data.subwords.size
    network = networks.Translator(
        encoder, decoder, size, config["dim"], config["dropout"], name=model
    )
    rate = keras.optimizers.schedules.CosineDecay(
        config["learning_rate"], config["epochs"] * config["steps"]
    )
    network.compile(
        keras.optimizers.Adam(rate, global_clipnorm=config["clip"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    return network


def evaluate(network, x, y, config):
    from reproductions.tasks.translation import networks

    return {"nats": networks.nats_a_piece(network, x, y, config["batch"], config["lengths"])}


def bleu(translations, references):
    """The corpus's BLEU, from 0 to 100, and SacreBLEU's signature of how it is counted."""
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    score = metric.corpus_score(translations, [references]).score
    return score, str(metric.get_signature())


def transfer(network, model, data, config):
    """BLEU of the test sentences' translations, with its signature."""
    found = {}
    ways = dict(bleu=("test", config["beam"]), bleu_greedy=("test", 1))
    ways |= dict(bleu_other=("other", config["beam"]))
    for metric, (split, beam) in ways.items():
        translations = translate(network, data, config, split, beam)
        found[metric], found["signature"] = bleu(translations, data.references(split))
    return found


def translate(network, data, config, split="test", beam=1):
    """The translations of a split's sentences, as texts."""
    from reproductions.tasks.translation import networks

    (sentences, _), _ = data.test if split == "test" else data.other_test
    made, _ = networks.translate(network, sentences, config["lengths"], beam, config["alpha"])
    return data.subwords.decode(made)


def generated(network):
    """Scales and shifts, made at each step of each layer."""
    cell = network.decoder.cell
    blocks = sum(
        weight.shape[0]
        for weight in cell.weights
        if weight.name in ("scale_kernel", "shift_kernel")
    )
    return 3 * blocks * cell.units  # the encoder has two layers like it


def draw(network, data, config, path, traces):
    """What the first test sentence's greedy translation attends to."""
    from reproductions.data.sentence_pairs.subwords import END, START
    from reproductions.tasks.translation import networks, plots

    sentences, lengths = data.test[0][0][:250], config["lengths"]  # of a shape that is compiled
    (made, *_), _ = networks.translate(network, sentences, lengths)
    sentence = sentences[0, : networks.used(sentences)[0]]
    given = sentence, [START, *made], config["batch"], lengths
    weights = networks.attention_weights(network, *given)
    pieces = map(data.subwords.pieces, (sentence, [*made, END]))
    plots.attention(weights, *pieces, path)


TASK = Task(
    name="translation",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    search=SEARCH,
    display=Display(
        families={"dynamic": ("hyper_*", "layer_norm_hyper_*")},
        claims=CLAIMS,
        metric="bleu",
    ),
    configurations=configurations,
    data=data,
    build=build,
    evaluate=evaluate,
    transfer=transfer,
    generated=generated,
    draw=draw,
)
