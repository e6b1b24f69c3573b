"""Data sets cut into tasks that one network with one set of outputs could solve."""

import numpy as np

TASKS = 5


class TasksInARow:
    """Digits, task after task: `splits[name][t]` is (x [n, pixels], y [n]).

    Args:
        splits: {name: [(x, y) of each task]}.
        outputs: Integer, how many labels there are, the same in all tasks.
    """

    def __init__(self, splits, outputs):
        self.splits = splits
        self.outputs = outputs

    @property
    def pixels(self):
        return self.splits["train"][0][0].shape[1]

    def batches(self, seed, tasks, count, size):
        """`count` batches (x, y) of the training digits of `tasks`, in one array each."""
        rng = np.random.default_rng([seed, *tasks])
        x, y = (np.concatenate([self.splits["train"][t][i] for t in tasks]) for i in (0, 1))
        chosen = rng.integers(0, len(x), count * size)
        return x[chosen], y[chosen]


def split(images):
    """Two digits a task, of which the first has label 0: that is to tell odd from even."""
    splits = {}
    for name, (x, y) in images.items():
        x = x.reshape(len(x), -1)
        splits[name] = [(x[y // 2 == t], y[y // 2 == t] % 2) for t in range(TASKS)]
    return TasksInARow(splits, 2)


def permuted(images):
    """All ten digits in each task, with pixels in an order of the task's own."""
    pixels = images["train"][0][0].size
    orders = [np.random.default_rng(t).permutation(pixels) for t in range(TASKS)]
    splits = {
        name: [(x.reshape(len(x), -1)[:, order], y) for order in orders]
        for name, (x, y) in images.items()
    }
    return TasksInARow(splits, 10)
