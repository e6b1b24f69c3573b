"""Digits learned in five tasks, one after the other: who forgets the earlier ones?

A multi-headed MLP, 784-100-100-10, tells two digits apart in each task, by the task's own two
outputs. `fine_tuning` trains it on task after task. `ewc` holds its weights by their Fisher
information. `hypernetwork` generates its weights in chunks from the task's embedding, and the
output regularizer (von Oswald et al. 2020) keeps what it generates for the tasks before. There are
two bounds: `joint` sees all tasks at once, and `separate` trains a network for each task.

`accuracy` is the mean over tasks after the last one, the task known. `accuracy_after_each` is the
mean of what each task had right after it was learned, and `forgetting` is what it lost since. For
`accuracy_task_inferred` the task is the one whose output has the lowest entropy.

`beta` is the weight of the regularizer beside the mean cross-entropy of a batch: the paper's, and
that of the authors' later code, which stands beside a sum over the task's digits there. With
`chunk_order` `units` a chunk holds whole units of a layer; without it, a strip of inputs for all
units.
"""

import numpy as np

from reproductions.data.images import digits, mnist
from reproductions.engine.display import Display, Headline
from reproductions.engine.task import Task
from reproductions.tasks.continual import learners
from reproductions.tasks.continual.learners import CLASSES, TASKS

MODELS = ("fine_tuning", "ewc", "hypernetwork", "joint", "separate")
METRICS = {
    "accuracy": "max",
    "accuracy_after_each": "max",
    "forgetting": "min",
    "accuracy_task_inferred": "max",
}
LABELS = ("beta", "chunk_order")
DATA = {
    "digits": "scikit-learn's digits of 8×8",
    "mnist": "MNIST, tensorflow-datasets or idx files in --data-dir",
}
# Each beta, and whether chunks hold whole units: the row without is an ablation.
HYPERNETWORKS = (
    dict(beta=0.01, chunk_order="units"),
    dict(beta=8e-4, chunk_order="units"),
    dict(beta=0.01),
)
CONSOLIDATION = 1e6
BASE = dict(hidden=[100, 100], embedding=32, batch=32, learning_rate=5e-4)
PRESETS = {
    "smoke": BASE | dict(data="digits", seeds=1, iterations=3, chunk=2000, fisher=3),
    "quick": BASE | dict(data="digits", seeds=1, iterations=1500, chunk=2000, fisher=200),
    "full": BASE | dict(data="mnist", seeds=3, iterations=5000, chunk=8000, fisher=1000),
}
PUBLISHED = (
    dict(
        model="hypernetwork",
        metric="accuracy",
        value=0.9972,
        source="authors' later code",
        beta=8e-4,
        chunk_order="units",
        notes=(1,),
    ),
    dict(
        model="hypernetwork",
        metric="accuracy_task_inferred",
        value=0.6341,
        source="authors' later code",
        beta=8e-4,
        chunk_order="units",
        notes=(1,),
    ),
    dict(
        model="separate",
        metric="accuracy",
        value=0.9977,
        source="authors' later code",
        notes=(1,),
    ),
    dict(
        model="hypernetwork",
        metric="accuracy",
        value=0.9979,
        source="von Oswald et al. 2020",
        beta=0.01,
        chunk_order="units",
        notes=(2,),
    ),
)
DEVIATIONS = (
    "One run of the authors' later code, whose settings are taken over (hypernetwork 10-10-10-10, "
    "chunks of 8000, embeddings of 32 with standard deviations 1 and 0.1, Adam 0.0005, 5000 "
    "batches of 32 a task). Its β of 10 stands beside a cross-entropy summed over the task's "
    "12,000 digits, which is 0.0008 beside the mean. Weights of the hypernetwork start by Glorot's "
    "rule, embeddings of earlier tasks go on learning, all outputs are held, and 5000 training "
    "digits are set aside and not used.",
    "An MLP of 400-400 there, and embeddings of earlier tasks that are frozen.",
    "λ of `ewc` is the best of 1e4, 1e5 and 1e6 on validation digits of one seed.",
)


def configurations(model, preset, data):
    if model == "hypernetwork":
        chosen = HYPERNETWORKS[:1] if preset == "smoke" else HYPERNETWORKS
        return [PRESETS[preset] | settings for settings in chosen]
    return [PRESETS[preset] | (dict(ewc=CONSOLIDATION) if model == "ewc" else {})]


class Tasks:
    """The splits' digits, task after task: `splits[name][t]` is (x [n, pixels], y [n])."""

    def __init__(self, splits):
        self.splits = {}
        for name, (x, y) in splits.items():
            x = x.reshape(len(x), -1)
            self.splits[name] = [(x[y // CLASSES == t], y[y // CLASSES == t]) for t in range(TASKS)]

    @property
    def pixels(self):
        return self.splits["train"][0][0].shape[1]

    def batches(self, seed, tasks, count, size):
        """`count` batches (task [b], x, y) of the training digits of `tasks`."""
        rng = np.random.default_rng([seed, *tasks])
        x, y = (np.concatenate([self.splits["train"][t][i] for t in tasks]) for i in (0, 1))
        for _ in range(count):
            chosen = rng.integers(0, len(x), size)
            yield (y[chosen] // CLASSES).astype("int32"), x[chosen], y[chosen]


def data(name, config, data_dir):
    return Tasks(digits(scale=1) if name == "digits" else mnist(data_dir))


def measure(model, config, seed, data):
    learner = learners.learner(model, config, seed, data.pixels)
    curves, after_each = [], []
    tasks = [list(range(TASKS))] if model == "joint" else [[t] for t in range(TASKS)]
    for group in tasks:
        # All tasks at once get all their steps at once.
        count = config["iterations"] * (TASKS if model == "joint" else 1)
        learner.learn(data.batches(seed, group, count, config["batch"]), count)
        if model != "joint":
            learner.finish(group[0], data.splits["train"][group[0]])
        curves.append([accuracy for accuracy, _ in map(learner.test, *_numbered(data, "valid"))])
        after_each += [learner.test(t, data.splits["test"][t])[0] for t in group]
    scores = np.array([learner.test(*pair) for pair in zip(*_numbered(data, "test"), strict=True)])
    accuracy, inferred = scores.mean(axis=0).tolist()
    return {
        "metrics": {
            "valid": {"curves": curves},
            "test": {
                "accuracy": accuracy,
                "accuracy_after_each": float(np.mean(after_each)),
                "forgetting": float(np.mean(after_each)) - accuracy,
                "accuracy_task_inferred": inferred,
            },
        },
        "parameters": learner.parameters(),
    }


def _numbered(data, split):
    return range(TASKS), data.splits[split]


def plot(records, path):
    """Each task's validation accuracy as later ones arrive, a panel a model."""
    from matplotlib.figure import Figure

    groups = {}
    for run in sorted(records, key=lambda run: MODELS.index(run["model"])):
        beta = run["config"].get("beta")
        title = run["model"]
        if beta is not None:
            layout = run["config"].get("chunk_order", "strips")
            title += f"\nβ = {beta:g}, {layout} in chunks"
        groups.setdefault(title, []).append(run["metrics"]["valid"]["curves"])
    figure = Figure(figsize=(2.6 * len(groups), 2.8), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (title, runs) in zip(panels, groups.items(), strict=True):
        curves = np.mean(runs, axis=0)  # [after, task]
        for t in range(curves.shape[1]):
            if len(curves) == 1:  # all at once
                axes.axhline(curves[0, t], color=f"C{t}", label=f"task {t + 1}")
            else:
                after = np.arange(t + 1, len(curves) + 1)
                axes.plot(after, curves[t:, t], "o-", color=f"C{t}", label=f"task {t + 1}")
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="tasks learned", xlim=(0.7, TASKS + 0.3))
    panels[0].set_ylabel("accuracy, task known")
    panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=90)


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
            labels={"beta": 0.01, "chunk_order": "units"},
        ),
        families={"hypernetwork": ("hypernetwork",), "bound": ("joint", "separate")},
    ),
    configurations=configurations,
    data=data,
    plot=plot,
    measure=measure,
)
