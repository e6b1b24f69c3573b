"""Tasks in a row, and one network for all of them: do boxes around embeddings give it?

HyperInterval (Krukowski et al. 2024) trains a hypernetwork on a box around each task's embedding,
so that all networks in the box of weights that comes of it solve the task. `interval_nested` has
boxes that always meet: the middle of what they have in common gives one network, which needs no
number of the task. `interval_free` has boxes anywhere, for tasks whose number is known. `point` is
the plain hypernetwork, with boxes without extent; its one network is that of the mean embedding,
which shows whether any average would do. `fine_tuning` trains one network on task after task, `ewc`
holds its weights by their Fisher information, and `joint` sees all tasks at once, which is the
bound. Each learns 5 tasks, an MLP with one set of outputs: to tell two digits apart (odd or even),
or all ten in pixels of another order.

All figures are means over the tasks after the last one. `accuracy_one_network` is that of the one
network. `accuracy_task_known` is that of the network in the middle of each task's box of weights,
and `forgetting` what it lost since its task was learned (of models with one network: what that
lost). `certified_accuracy` is the share of digits that every network in the task's box gets right,
as the bounds prove. `weights_in_boxes` is the share of tasks whose box contains the one network. In
such a task it gets all certified digits right.

`beta` is the weight of the regularizer that keeps the boxes of finished tasks.
"""

import numpy as np

from reproductions.data.images import digits, mnist
from reproductions.engine.display import Claim, Display, Headline
from reproductions.engine.task import Task
from reproductions.tasks.hyperinterval import learners, plots
from reproductions.tasks.hyperinterval.tasks_in_a_row import TASKS, permuted, split

MODELS = ("interval_nested", "interval_free", "point", "fine_tuning", "ewc", "joint")
BOXES = ("interval_nested", "interval_free")
METRICS = {
    "accuracy_one_network": "max",
    "accuracy_task_known": "max",
    "certified_accuracy": "max",
    "weights_in_boxes": "max",
    "forgetting": "min",
}
DATA = {
    "digits": "scikit-learn's digits of 8×8, two a task",
    "permuted_digits": "the same, all ten in each task, with pixels in another order",
    "mnist": "MNIST, tensorflow-datasets or idx files in --data-dir, two digits a task",
    "permuted_mnist": "the same, all ten in each task, with pixels in another order",
}
BASE = dict(learning_rate=1e-3, kappa=0.5, body=[25], seeds=3, jit=False)
PRESETS = {
    "smoke": BASE | dict(data="digits", seeds=1, hidden=[8], iterations=4, batch=16, fisher=3),
    "quick": BASE | dict(data="digits", hidden=[50, 50], iterations=500, batch=32, fisher=200),
    "full": BASE
    | dict(data="mnist", hidden=[100, 100], iterations=2000, batch=64, fisher=1000, jit=True),
}
OWN = {
    "interval_nested": dict(nested=True, embedding=24, epsilon=10.0),
    "interval_free": dict(nested=False, embedding=72, epsilon=1.0),
    "point": dict(nested=False, embedding=72, epsilon=0.0),
    "ewc": dict(ewc=1e5),
}
# The authors' β first. β weighs a sum over all weights, of which `quick` has few.
BETAS = {
    "interval_nested": {"quick": (1e-3, 1e-2, 1e-1, 1.0), "full": (1e-3, 1e-2)},
    "interval_free": {"quick": (1e-2, 1.0), "full": (1e-2,)},
    "point": {"quick": (1e-2, 1.0), "full": (1e-2,)},
}
# For tests of what boxes give. The paper's own comparisons are with methods that are not here.
CLAIMS = tuple(
    Claim(preset=preset, ours="interval_nested", labels={"beta": beta}, **asked)
    for preset, beta in (("full", 1e-3), ("quick", 0.01))
    for asked in (
        dict(
            what="One network for all tasks, from boxes that always meet, is better than that of "
            f"the mean embedding (`{preset}`).",
            baseline="point",
            baseline_labels={"beta": 1e-2},
        ),
        dict(what=f"It is better than elastic weights (`{preset}`).", baseline="ewc"),
        dict(
            what="It is the meeting that makes it: boxes anywhere, with a network for each task in "
            f"their middle, have no such one (`{preset}`).",
            baseline="interval_free",
            baseline_labels={"beta": 1e-2},
        ),
    )
)


def configurations(model, preset, data):
    config = PRESETS[preset] | OWN.get(model, {})
    if model not in BETAS:
        return [config]
    return [config | {"beta": beta} for beta in BETAS[model].get(preset, (1e-3,))]


def data(name, config, data_dir):
    images = digits(scale=1) if name.endswith("digits") else mnist(data_dir)
    return permuted(images) if name.startswith("permuted") else split(images)


def measure(model, config, seed, data):
    learner = learners.learner(model, config, seed, data)
    valid, test = data.splits["valid"], data.splits["test"]
    curves, after_each = [], []
    groups = [list(range(TASKS))] if model == "joint" else [[t] for t in range(TASKS)]
    for group in groups:
        # All tasks at once get all their steps at once.
        count = config["iterations"] * len(group)
        learner.learn(group[0], *data.batches(seed, group, count, config["batch"]))
        if model != "joint":
            learner.finish(group[0], data.splits["train"][group[0]])
        networks = [learner.of_task(t) for t in range(TASKS)]
        curves.append(_accuracies(networks, valid))
        after_each += [learners.accuracy(networks[t], test[t]) for t in group]
    known, one = _accuracies(networks, test), learner.one_network()
    of_one, boxes = _accuracies([one] * TASKS, test), learner.boxes(test)
    result = {
        "accuracy_one_network": np.mean(of_one),
        "accuracy_task_known": np.mean(known) if model in (*BOXES, "point") else None,
        "certified_accuracy": boxes and boxes["certified"][-1],
        "weights_in_boxes": boxes and boxes["inside"],
        "forgetting": np.mean(after_each) - np.mean(known),
    }
    result = {key: None if value is None else float(value) for key, value in result.items()}
    in_valid = _accuracies([one] * TASKS, valid)
    return {
        "metrics": {
            "valid": {"curves": curves, "one_network": in_valid, "boxes": boxes},
            "test": result,
        },
        "parameters": learner.parameters(),
    }


def _accuracies(networks, pairs):
    return [learners.accuracy(network, pair) for network, pair in zip(networks, pairs, strict=True)]


TASK = Task(
    name="hyperinterval",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    deviations=(
        "No figure of the paper is beside ours: the text behind its abstract and its tables could "
        "not be read. Settings are those of the authors' code for Split MNIST (ε 10 and 1, "
        "embeddings of 24 and 72, Adam 0.001, 2000 steps, κ), with a target of 100-100 instead of "
        "400-400, a hypernetwork of 25, no choice among the steps of a task and no augmentation. "
        "The weights of the hypernetwork start by Hyperfan, and the regularizer is divided by the "
        "number of finished tasks once, where the code divides twice.",
        "λ of `ewc` is the better of 1e3 and 1e5 on validation digits of one seed of `quick`.",
    ),
    labels=("beta",),
    display=Display(
        headline=Headline(
            preset="quick",
            baseline="ewc",
            ours="interval_nested",
            what="one network for tasks in a row: mean accuracy after the last",
            labels={"beta": 0.01},
        ),
        claims=CLAIMS,
        families={"hypernetwork": (*BOXES, "point"), "bound": ("joint",)},
        only={
            "accuracy_task_known": (*BOXES, "point"),
            "certified_accuracy": BOXES,
            "weights_in_boxes": BOXES,
        },
    ),
    configurations=configurations,
    data=data,
    plot=plots.plot,
    measure=measure,
)
