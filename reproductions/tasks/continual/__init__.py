"""Digits learned in tasks, one after the other: who forgets the earlier ones?

A multi-headed MLP, 784-100-100-10, tells two digits apart in each of five tasks, by the task's own
two outputs. `fine_tuning` trains it on task after task. `ewc` holds its weights by their Fisher
information. `hypernetwork` generates its weights in chunks from the task's embedding, and the
output regularizer (von Oswald et al. 2020) keeps what it generates for the tasks before.
`hypernetwork_replay` (HNET+R of the same paper) generates a decoder of each task's digits in place
of the classifier. The classifier is a plain network of all outputs, which learns the digits of the
task, and those that the decoders make of the tasks before as itself had known them. There are two
bounds: `joint` sees all tasks at once, and `separate` trains a network for each task.

The data `permuted` are ten tasks of all ten digits, their pixels in an order of the task's own
(the first task has them in place); there the network has 100 outputs, ten a task.

`accuracy` is the mean over tasks after the last one, the task known. `accuracy_after_each` is the
mean of what each task had right after it was learned, and `forgetting` is what it lost since. For
`accuracy_task_inferred` the task is the one whose output has the lowest entropy; both the task and
the digit have to be right. `hypernetwork_replay` takes the largest of all tasks' outputs.

`beta` is the weight of the regularizer beside the mean cross-entropy of a batch: the paper's, and
that of the authors' later code, which stands beside a sum over the task's digits there. With
`chunk_order` `units` a chunk holds whole units of a layer; without it, a strip of inputs for all
units. With `held` `own` the regularizer leaves out the outputs of other tasks, and with
`frozen` the embeddings of finished tasks stay as they are.
"""

from reproductions.data.images import digits, mnist
from reproductions.engine.display import Claim, Display, Headline
from reproductions.engine.task import Task
from reproductions.tasks.continual import learners, plots, protocol, replay
from reproductions.tasks.continual.digit_tasks import PermutedTasks, Tasks

MODELS = ("fine_tuning", "ewc", "hypernetwork", "hypernetwork_replay", "joint", "separate")
METRICS = {
    "accuracy": "max",
    "accuracy_after_each": "max",
    "forgetting": "min",
    "accuracy_task_inferred": "max",
}
LABELS = ("beta", "chunk_order", "held", "frozen")
DATA = {
    "digits": "scikit-learn's digits of 8×8",
    "mnist": "MNIST, tensorflow-datasets or idx files in --data-dir",
    "permuted": "MNIST with permuted pixels, ten tasks",
    "permuted_digits": "scikit-learn's digits with permuted pixels, ten tasks",
}
# Each beta, and whether chunks hold whole units: the row without is an ablation. The last row is
# the later code's in all that can be taken over.
HYPERNETWORKS = (
    dict(beta=0.01, chunk_order="units"),
    dict(beta=8e-4, chunk_order="units"),
    dict(beta=0.01),
    dict(beta=8e-4, chunk_order="units", held="own", sampling="epochs", epsilon=1e-8),
)
CONSOLIDATION = 1e6
# In `quick` alone: what of the paper's and the later code's settings makes a difference.
VARIANTS = (
    dict(beta=0.01, chunk_order="units", held="own"),
    dict(beta=0.01, chunk_order="units", frozen=True),
)
# Of the decoders, but for `batch` and `iterations`, and of an autoencoder to learn them by.
REPLAY = dict(
    beta=0.01, chunk_order="units", generator=[10, 10], learning_rate=1e-3, temperature=2.0
)
SMALL_REPLAY = REPLAY | dict(latent=10, encoder=[50, 50], decoder=[50, 50])
REPLAYS = dict(
    smoke=SMALL_REPLAY,
    quick=SMALL_REPLAY,
    full=REPLAY
    | dict(latent=100, encoder=[400, 400], decoder=[250, 350], embedding=96, chunk=50_000)
    | dict(batch=128, iterations=2000),
)
UNITS = dict(beta=0.01, chunk_order="units")
LATER = dict(beta=8e-4, chunk_order="units", held="own")  # the settings of the later code
BASE = dict(hidden=[100, 100], embedding=32, batch=32, learning_rate=5e-4)
PRESETS = {
    "smoke": BASE | dict(data="digits", seeds=1, tasks=2, iterations=3, chunk=2000, fisher=3),
    "quick": BASE | dict(data="digits", seeds=1, iterations=1500, chunk=2000, fisher=200),
    "full": BASE | dict(data="mnist", seeds=3, iterations=5000, chunk=8000, fisher=1000),
}
# The later code's small network. One finished task a step is held, drawn at random.
PERMUTED = dict(
    permuted=dict(batch=128, iterations=2000, chunk=750, fisher=1000),
    permuted_digits=dict(chunk=200),
)
PERMUTED_HYPERNETWORK = dict(
    generator=[100, 100],
    chunk_embedding=16,
    num_sampled=1,
    beta=4e-3,
    chunk_order="units",
    held="own",
)
PERMUTED_CONSOLIDATION = 100.0
PUBLISHED = (
    dict(
        model="hypernetwork",
        metric="accuracy",
        value=0.9972,
        source="authors' later code",
        data="mnist",
        beta=8e-4,
        chunk_order="units",
        held="own",
        notes=(1,),
    ),
    dict(
        model="hypernetwork",
        metric="accuracy_task_inferred",
        value=0.6341,
        source="authors' later code",
        data="mnist",
        beta=8e-4,
        chunk_order="units",
        held="own",
        notes=(1,),
    ),
    dict(
        model="separate",
        metric="accuracy",
        value=0.9977,
        source="authors' later code",
        data="mnist",
        notes=(1,),
    ),
    dict(
        model="hypernetwork",
        metric="accuracy",
        value=0.9979,
        source="von Oswald et al. 2020",
        data="mnist",
        beta=0.01,
        chunk_order="units",
        notes=(2,),
    ),
    *(
        dict(
            model=model,
            metric="accuracy",
            value=value,
            source="authors' later code",
            data="permuted",
            notes=(4,),
        )
        for model, value in (
            ("hypernetwork", 0.9505),
            ("fine_tuning", 0.4789),
            ("separate", 0.9704),
        )
    ),
)
DEVIATIONS = (
    "One run of the authors' later code, whose settings are taken over (hypernetwork 10-10-10-10, "
    "chunks of 8000, embeddings of 32 with standard deviations 1 and 0.1, Adam 0.0005, 5000 "
    "batches of 32 a task). Its β of 10 stands beside a cross-entropy summed over the task's "
    "12,000 digits, which is 0.0008 beside the mean. Weights of the hypernetwork start by Glorot's "
    "rule, and embeddings of earlier tasks go on learning. With `held` `own` digits come in "
    "epochs and Adam's ε is 1e-8, as there; else digits are drawn from all, ε is 1e-7, and all "
    "outputs are held. 5000 training digits are set aside and not used.",
    "An MLP of 400-400 there, and embeddings of earlier tasks that are frozen.",
    "λ of `ewc` is the best of 1e4, 1e5 and 1e6 on validation digits of one seed; on `permuted` it "
    "is the best of 100, 1000 and 10,000 in runs of 300 batches a task.",
    "Permuted: one run of the authors' later code each, with 5000 batches of 128 a task. Settings "
    "are taken over (hypernetwork 100-100, chunks of 750, embeddings of 32 and 16 with standard "
    "deviations 1 and 0.1, Adam 0.0005, own outputs held), and its β of 250 stands beside a "
    "cross-entropy summed over 60,000 digits, which is 0.004 beside the mean. There, chunks have "
    "embeddings for each task, gradients are clipped and all finished tasks are held; here, a step "
    "holds one of them, drawn at random, and there are 2000 batches a task. The orders of the "
    "pixels differ.",
    "The authors' HNET+R has a classifier of 400-400, hidden units with ELU in the hypernetwork, a "
    "look-ahead of the regularizer, and an autoencoder that is told the task. Here the classifier "
    "is that of the other rows, its softmax is over the outputs of all tasks from the start, and "
    "the encoder learns on without a condition. Batches of 128, 2000 a task, codes of 100 and a "
    "decoder of 250-350 are theirs in `full`.",
)

CLAIMS = tuple(
    Claim(preset="full", **{"ours": "hypernetwork", **asked})
    for asked in (
        dict(
            what="A hypernetwork forgets less than a network trained on task after task "
            "(von Oswald et al. 2020), on Split MNIST.",
            baseline="fine_tuning",
            metric="forgetting",
            labels=LATER,
        ),
        dict(
            what="So it does on ten permutations of MNIST.",
            baseline="fine_tuning",
            metric="forgetting",
            data="permuted",
        ),
        dict(
            what="On Split MNIST it ends more accurate than elastic weights (the same).",
            baseline="ewc",
            labels=LATER,
        ),
        dict(
            what="On ten permutations of MNIST too (the same, with a larger network).",
            baseline="ewc",
            data="permuted",
        ),
        dict(
            what="Chunks of whole units, as in the authors' code, are better than strips of inputs "
            "(ours).",
            baseline="hypernetwork",
            labels=UNITS | {"held": None},
            baseline_labels={"beta": 0.01, "chunk_order": None},
        ),
        dict(
            what="With a task that is not known, replay of generated digits is better than "
            "inferring it by entropy (von Oswald et al. 2020).",
            ours="hypernetwork_replay",
            baseline="hypernetwork",
            metric="accuracy_task_inferred",
            baseline_labels=UNITS | {"held": None},
        ),
    )
)


LEARNERS = learners.LEARNERS | {"hypernetwork_replay": replay.Replay}


def configurations(model, preset, data):
    base = PRESETS[preset]
    if model == "hypernetwork_replay":
        return [] if data in PERMUTED else [base | REPLAYS[preset]]
    if data in PERMUTED:
        shorter = {} if preset == "full" else {"iterations": base["iterations"]}
        base = base | PERMUTED[data] | shorter
        own = dict(hypernetwork=PERMUTED_HYPERNETWORK, ewc=dict(ewc=PERMUTED_CONSOLIDATION))
        return [base | own.get(model, {})]
    if model == "hypernetwork":
        chosen = dict(smoke=HYPERNETWORKS[:1], quick=HYPERNETWORKS + VARIANTS)
        return [base | settings for settings in chosen.get(preset, HYPERNETWORKS)]
    return [base | (dict(ewc=CONSOLIDATION) if model == "ewc" else {})]


def data(name, config, data_dir):
    kind = PermutedTasks if name in PERMUTED else Tasks
    splits = digits(scale=1) if name.endswith("digits") else mnist(data_dir)
    return kind(splits, config.get("tasks"))


def measure(model, config, seed, data):
    kind = LEARNERS.get(model, learners.Learner)
    learner = learners.learner(kind, config, seed, data)
    return protocol.measure(learner, config, seed, data, at_once=model == "joint")


def plot(records, path):
    """Each task's validation accuracy as later ones arrive."""
    runs = sorted(records, key=lambda run: MODELS.index(run["model"]))
    plots.curves([(_title(run), run) for run in runs], path)


def _title(run):
    config, title = run["config"], run["model"]
    if "beta" in config:
        title += f"\nβ = {config['beta']:g}, {config.get('chunk_order', 'strips')} in chunks"
    if "held" in config or "frozen" in config:
        title += "\nown outputs held" if "held" in config else "\nfrozen embeddings"
    return title


TASK = Task(
    name="continual",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    published=PUBLISHED,
    deviations=DEVIATIONS,
    labels=LABELS,
    display=Display(
        headline=Headline(
            preset="full",
            baseline="ewc",
            ours="hypernetwork",
            what="Split-MNIST, task known: mean accuracy after the last task",
            labels=LATER,
        ),
        claims=CLAIMS,
        families={
            "hypernetwork": ("hypernetwork", "hypernetwork_replay"),
            "bound": ("joint", "separate"),
        },
    ),
    configurations=configurations,
    data=data,
    plot=plot,
    measure=measure,
)
