"""Tasks in a row: learn each, remember what it was like, test all at the end."""

import numpy as np


def measure(learner, config, seed, data, at_once=False):
    """A run's metrics and parameters.

    Args:
        learner: A `Learner`.
        config: `iterations`, batches of a task, `batch`, digits in each, and `sampling`, "epochs"
            where none comes again before all others have come.
        seed: Integer, of the batches.
        data: `Tasks`.
        at_once: Whether all tasks are learned together, with all their batches.
    """
    every = list(range(data.count))
    curves, after_each = [], []
    for group in [every] if at_once else [[t] for t in every]:
        count = config["iterations"] * len(group)
        in_epochs = config.get("sampling") == "epochs"
        learner.learn(data.batches(seed, group, count, config["batch"], in_epochs), count)
        if not at_once:
            learner.finish(group[0], data.splits["train"][group[0]])
        curves.append([learner.known(t, data.splits["valid"][t]) for t in every])
        after_each += [learner.known(t, data.splits["test"][t]) for t in group]
    scores = np.array([learner.test(t, data.splits["test"][t]) for t in every])
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
