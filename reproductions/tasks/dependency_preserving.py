"""Generated weights that depend on each other: does recurrence help continual learning?

The tasks and the target are those of `continual`: a hypernetwork makes the weights of an MLP from
a task's embedding, and the output regularizer keeps what it made for the tasks before. What differs
is how the pieces of the weights come about. `mlp` makes each chunk from its own embedding alone, as
published hypernetworks do. `recurrent` makes chunk after chunk by an LSTM, so that each depends on
those before it; `reversed` begins with the last chunk. `cut` decides what that is worth: the same
LSTM, started anew for each chunk. `layers` and `layers_cut` are the same two with a layer as the
piece, and its matrices of low rank.

All have about as many trainable parameters and as many batches. Dependency-preserving
hypernetworks (Chandra et al. 2022) are said to be better in all settings; only the abstract of that
paper was at hand, so the equations, the controls and all settings here are ours, there is no
regularizer or growth of theirs, and no figure is compared with a published one.

`accuracy` is the mean over tasks after the last one, the task known. `accuracy_after_each` is the
mean of what each task had right after it was learned, `forgetting` what it lost since. For
`accuracy_task_inferred` the task is the one whose output has the lowest entropy.
"""

from reproductions.engine.display import Claim, Display, Headline
from reproductions.engine.task import Task
from reproductions.tasks import continual
from reproductions.tasks.continual import learners, plots, protocol

# Order and independence of a model's pieces, and whether they are layers.
RECURRENT = {
    "recurrent": ("forward", False, False),
    "cut": ("forward", True, False),
    "reversed": ("reversed", False, False),
    "layers": ("forward", False, True),
    "layers_cut": ("forward", True, True),
}
MODELS = ("mlp", *RECURRENT)
METRICS, DATA = continual.METRICS, continual.DATA
BASE = dict(hidden=[100, 100], embedding=32, batch=32, learning_rate=5e-4, chunk_order="units")
SPLIT = dict(chunk_embedding=32, beta=0.01)
PERMUTED = dict(chunk_embedding=16, beta=4e-3, num_sampled=1, batch=128)
# Sizes with as many parameters: chunks and units; for layers units and rank; the MLP's layers.
SIZES = {
    "mnist": dict(chunk=8000, units=10, layer_units=10, rank=7, generator=[10] * 4),
    "permuted": dict(chunk=2500, units=32, layer_units=30, rank=2, generator=[128, 32]),
    "digits": dict(chunk=1400, units=10, layer_units=10, rank=3, generator=[40, 10, 10, 10]),
    "permuted_digits": dict(
        chunk=1400, units=10, layer_units=11, rank=2, generator=[40, 10, 10, 10]
    ),
}
PRESETS = {
    "smoke": BASE | dict(data="digits", seeds=1, tasks=2, iterations=3),
    "quick": BASE | dict(data="digits", seeds=3, iterations=500),
    "full": BASE | dict(data="permuted", seeds=3, iterations=750),
}
CLAIMS = tuple(
    Claim(preset=preset, baseline=baseline, ours=ours, what=f"{what} ({where}).")
    for preset, where in (("full", "permuted MNIST"), ("quick", "digits"))
    for ours, baseline, what in (
        ("recurrent", "mlp", "Weights from a recurrent network are better than independent ones"),
        ("recurrent", "cut", "The recurrence is what makes them better"),
        ("layers", "layers_cut", "So it is with a layer as the piece"),
    )
)


def configurations(model, preset, data):
    sizes = dict(SIZES[data])
    units, rank = sizes.pop("layer_units"), sizes.pop("rank")
    if model.startswith("layers"):
        sizes = dict(units=units, rank=rank)
    elif model == "mlp":
        del sizes["units"]
    if model != "mlp":
        sizes.pop("generator", None)
    kind = PERMUTED if data.startswith("permuted") else SPLIT
    return [PRESETS[preset] | kind | sizes]


def learner_of(model):
    """The learner whose head makes pieces as the model says."""
    if model == "mlp":
        return learners.Hypernetworks
    order, independent, by_layers = RECURRENT[model]

    class Pieces(learners.Hypernetworks):
        """A hypernetwork with a recurrent head."""

        def head(self):
            import keras

            from hyperkeras.layers import RecurrentHead

            config = self.config
            # Chunks start as the MLP's do; products of factors need the default start.
            chunks = dict(
                chunk_size=config.get("chunk"), initializer="glorot_uniform", normalize=False
            )
            return RecurrentHead(
                keras.layers.LSTM(config["units"], return_sequences=True, unroll=True),
                **(dict(rank=config["rank"]) if by_layers else chunks),
                order=order,
                independent=independent,
                embedding_dim=config["chunk_embedding"],
                embedding_initializer=keras.initializers.RandomNormal(stddev=0.1),
            )

    return Pieces


def measure(model, config, seed, data):
    learner = learners.learner(learner_of(model), config, seed, data)
    return protocol.measure(learner, config, seed, data)


def plot(records, path):
    """Each task's validation accuracy as later ones arrive."""
    runs = sorted(records, key=lambda run: MODELS.index(run["model"]))
    plots.curves([(run["model"], run) for run in runs], path)


TASK = Task(
    name="dependency_preserving",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="mlp",
            ours="recurrent",
            what="Permuted-MNIST of ten tasks: mean accuracy after the last task",
        ),
        claims=CLAIMS,
        families={"hypernetwork": ("recurrent", "reversed", "layers")},
    ),
    configurations=configurations,
    data=continual.data,
    plot=plot,
    measure=measure,
)
