"""The training of a Keras model: by epochs, resumable, chosen on validation, tested once.

After every epoch weights, optimizer, seed generators, best weights and history go to one file,
`checkpoints/<record>.npz` beside the record, which is removed once the record stands.
"""

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from reproductions.engine import checkpoints
from reproductions.engine.matrix import costs
from reproductions.engine.task import Task

SIGN = {"max": 1, "min": -1}


def compile_classifier(network: Any, optimizer: Any) -> None:
    """Compile a model of class scores (logits) for integer labels."""
    import keras

    network.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # On a CPU XLA's convolutions take four times as long as TensorFlow's own.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def set_seed(seed: int) -> None:
    """Forget earlier models, which leaves no scope standing, and set Keras's global seed."""
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)


def run(
    task: Task,
    job: dict,
    data: Any,
    record: Path,
    deterministic: bool,
    advance: Callable[[float], None],
    scope: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext,
    test: bool = True,
) -> dict:
    """Build, train and draw; what the job's record at the path `record` says of it.

    Without `test`, nothing is done that could read test data: no test, trace or picture.
    """
    set_seed(job["seed"])
    told = job | ({"deterministic": True} if deterministic else {})
    assert task.build is not None  # else the task has `measure`
    with scope():
        network = task.build(job["model"], job["config"], data)
        training = Training(task, job, network, data, (checkpoints.path_of(record), told), test)
        metrics = training.run(advance)
    if job["seed"] == 0 and test:
        record.parent.mkdir(parents=True, exist_ok=True)
        traces = training.progress["traces"]
        task.draw(network, data, job["config"], record.with_suffix(".png"), traces)
    parameters = {
        "trainable": sum(math.prod(weight.shape) for weight in network.trainable_weights),
        "generated": task.generated(network),
    }
    seconds = round(training.progress["seconds"], 1)
    return {"metrics": metrics, "seconds": seconds, "parameters": parameters}


def prefetched(batches: Any) -> Any:
    """`batches` made while the network trains on those before; on TensorFlow through `tf.data`.

    Without tuning, whose thread sleeps for up to a minute: at its end an iterator waits for it, and
    so would each epoch, in the data set that Keras makes of a generator too.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    if not isinstance(batches, tf.data.Dataset):
        first = next(batches := iter(batches))
        kinds = tf.nest.map_structure(lambda x: tf.TensorSpec(np.shape(x), x.dtype), first)
        batches = tf.data.Dataset.from_generator(
            lambda rest=batches: itertools.chain([first], rest), output_signature=kinds
        ).prefetch(4)
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


class Training:
    """A network's training, from its checkpoint where there is one.

    Args:
        task: The task.
        job: What tells the run from others: task, model, preset, data, seed and config.
        network: A compiled Keras model.
        data: The task's data.
        checkpoint: Path of the checkpoint, and what it must say it is of.
        test: Whether test data are evaluated at the end (default `True`).
    """

    def __init__(
        self,
        task: Task,
        job: dict,
        network: Any,
        data: Any,
        checkpoint: tuple[Path, dict],
        test: bool = True,
    ):
        self.test = test
        self.task, self.network, self.data, self.checkpoint = task, network, data, checkpoint
        self.config, self.seed, self.model = job["config"], job["seed"], job["model"]
        self.monitor, direction = next(iter(task.metrics.items()))
        self.sign = SIGN[direction]
        network.optimizer.build(network.trainable_variables)
        self.progress: dict[str, Any] = {"epoch": 0, "seconds": 0.0, "curve": [], "traces": []}
        self.progress |= {"best": None, "ended": False}
        self.best: list[np.ndarray] = []
        if checkpoint[0].exists():
            restored = checkpoints.restore(*checkpoint, network)
            self.progress, self.best = restored or (self.progress, self.best)
        times: dict[str, list[float]] = {"seconds": [], "processor_seconds": []}
        self.progress.setdefault("times", times)  # of each epoch; older checkpoints have none
        self.progress.setdefault("fits", [])  # processor seconds of each epoch's steps

    def run(self, advance: Callable[[float], None]) -> dict:
        """Train, leave the weights in the network that were best on validation, and test those.

        Args:
            advance: Called with the number of epochs done so far, after each step.
        """
        while self.progress["epoch"] < self.config["epochs"] and not self.progress["ended"]:
            self._epoch(self.progress["epoch"], advance)
            checkpoints.save(*self.checkpoint, self.network, self.progress, self.best)
        for variable, value in zip(self.network.variables, self.best, strict=True):
            variable.assign(value)
        valid = self.progress["best"] | {"curve": self.progress["curve"]}
        if self.task.timed:
            valid |= self.progress["times"]
        if self.task.display.matrix is not None:
            valid |= self._costs()
        if not self.test:
            return {"valid": valid, "test": {}}
        test = self._evaluate(*self.data.test)
        test |= self.task.transfer(self.network, self.model, self.data, self.config)
        return {"valid": valid, "test": test}

    def _costs(self):
        """Of a training step, all threads counted, and of the evaluation of validation data."""
        return {
            "step_ms": costs.step_ms(self.progress["fits"], self.config["steps"]),
            "inference_mb": costs.peak_mb(lambda: self._evaluate(*self.data.valid)),
        }

    def _evaluate(self, x, y):
        metrics = self.task.evaluate(self.network, x, y, self.config)
        return {key: float(metrics[key]) for key in self.task.metrics if key in metrics}

    def _epoch(self, epoch, advance):
        start = time.perf_counter(), time.process_time()
        self.task.before_epoch(self.network, epoch, self.config)
        loss, trained = self._fit(epoch, advance)
        valid = self._evaluate(*self.data.valid)
        if not np.isfinite([*loss, *valid.values()]).all():
            raise FloatingPointError(f"epoch {epoch + 1}: loss {loss[0]}, {valid}")
        self._keep(epoch, valid)
        if self.network.optimizer.use_ema:
            for variable, value in zip(self.network.trainable_variables, trained, strict=True):
                variable.assign(value)
        self.progress["epoch"] += 1
        self.progress["ended"] = bool(self.task.stop(valid))
        taken = time.perf_counter() - start[0], time.process_time() - start[1]
        for values, value in zip(self.progress["times"].values(), taken, strict=True):
            values.append(round(value, 3))
        self.progress["seconds"] += taken[0]

    def _fit(self, epoch, advance):
        """One epoch; its losses, and the weights where the network is left with averages."""
        import keras

        steps, network, trained = self.config["steps"], self.network, []

        def count(batch, logs):
            advance(epoch + (batch + 1) / steps)

        def keep(epoch, logs):
            if network.optimizer.use_ema:  # in whose place `fit` leaves the averages
                trained.extend(variable.numpy() for variable in network.trainable_variables)

        start = time.process_time()
        history = network.fit(
            prefetched(self.data.train(self.seed, epoch)),
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=count, on_epoch_end=keep)],
        ).history
        self.progress["fits"].append(round(time.process_time() - start, 3))
        return history["loss"], trained

    def _keep(self, epoch, valid):
        """Add to the history, and keep the weights if they are the best so far."""
        value, best = valid[self.monitor], self.progress["best"]
        self.progress["curve"].append(value)
        if not self.best or self.sign * value > self.sign * best[self.monitor]:
            self.progress["best"] = valid | {"epoch": epoch + 1}
            self.best = [variable.numpy() for variable in self.network.variables]
        if self.seed == 0 and self.test:
            trace = self.task.trace(self.network, self.data, self.config)
            if trace is not None:
                self.progress["traces"].append(trace)
