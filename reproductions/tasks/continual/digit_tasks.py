"""Digits as tasks that come one after the other: two digits each, or all with permuted pixels."""

import numpy as np

CLASSES = {"split": 2, "permuted": 10}  # outputs of a task
TASKS = {"split": 5, "permuted": 10}


class Tasks:
    """Two digits a task: `splits[name][t]` is (x [n, pixels], y [n]), y numbered over all tasks.

    `count` asks for fewer tasks than there are.
    """

    kind = "split"

    def __init__(self, splits, count=None):
        self.classes, self.count = CLASSES[self.kind], count or TASKS[self.kind]
        flat = {name: (x.reshape(len(x), -1), y) for name, (x, y) in splits.items()}
        self.pixels = flat["train"][0].shape[1]
        self.splits = {name: self.cut(x, y) for name, (x, y) in flat.items()}

    def cut(self, x, y):
        """The parts of a split, task by task."""
        tasks = y // self.classes
        return [(x[tasks == t], y[tasks == t]) for t in range(self.count)]

    def batches(self, seed, tasks, count, size, in_epochs=False):
        """`count` batches (task [b], x, y) of the training digits of `tasks`.

        With `in_epochs` no digit comes again before all others have come; else each is drawn from
        all of them.
        """
        rng = np.random.default_rng([seed, *tasks])
        x, y = (np.concatenate([self.splits["train"][t][i] for t in tasks]) for i in (0, 1))
        order = np.arange(0)
        for _ in range(count):
            if in_epochs:
                if len(order) < size:
                    order = np.concatenate([order, rng.permutation(len(x))])
                chosen, order = order[:size], order[size:]
            else:
                chosen = rng.integers(0, len(x), size)
            yield (y[chosen] // self.classes).astype("int32"), x[chosen], y[chosen]


class PermutedTasks(Tasks):
    """All digits in each task, their pixels in an order of its own; the first task has no other.

    The orders are the same for all seeds. Digits are put into a task's order when they are asked
    for: ten copies of the training data would fill the memory.
    """

    kind = "permuted"

    def cut(self, x, y):
        rng = np.random.default_rng(0)
        orders = [rng.permutation(self.pixels) for _ in range(self.count - 1)]
        self.orders = np.stack([np.arange(self.pixels), *orders])
        return _InOrder(x, y, self.orders)

    def batches(self, seed, tasks, count, size, in_epochs=False):
        if in_epochs:
            raise NotImplementedError("permuted tasks draw each digit from all of them")
        rng = np.random.default_rng([seed, *tasks])
        x, y = self.splits["train"].x, self.splits["train"].y
        for _ in range(count):
            chosen = rng.integers(0, len(x), size)
            task = np.asarray(tasks)[rng.integers(0, len(tasks), size)].astype("int32")
            permuted = np.take_along_axis(x[chosen], self.orders[task], axis=1)
            yield task, permuted, y[chosen] + self.classes * task


class _InOrder:
    """Item t is (x with pixels in task t's order, y)."""

    def __init__(self, x, y, orders):
        self.x, self.y, self.orders = x, y, orders

    def __getitem__(self, t):
        return self.x[:, self.orders[t]], self.y + CLASSES["permuted"] * t
