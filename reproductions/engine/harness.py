"""seed → fit → choose on validation → test once → one JSON record; resumable.

A task is a module of this package, found by its name. Its docstring's first line says what is
compared; the whole docstring heads its results. It has

* `MODELS`: the names of all models;
* `METRICS`: {name: "max" or "min"}; the first chooses the weights, all are in the table;
* `DATA`: {name: what it is};
* `PRESETS`: {"smoke" | "quick" | "full": settings}; settings hold `data`, `seeds`, `epochs`,
  `steps` (batches an epoch), `models` where not all belong to the preset, `more_seeds`, {model:
  how many}, where some have more of them, and the task's own;
* `PUBLISHED`: dicts of `model, metric, value, source`, and where it applies `preset` (else
  "full"), `data`, `notes` (numbers of deviations) and labels; `DEVIATIONS`: texts, numbered from 1;
* `data(name, config, data_dir)` → an object with `train(seed, epoch)`, batches `(x, y)` that
  depend on nothing else, and with `valid` and `test`, arrays `(x, y)`;
* `build(model, config, data)` → a built and compiled Keras model; where its optimizer has
  `use_ema`, the weights' averages over the steps are validated and tested, and training goes on
  from the weights themselves;

and, where it needs them,

* `configurations(model, preset, data)` → dicts to run instead of the preset's settings, and
  `LABELS`: the configuration keys that tell them apart in tables and file names;
* `evaluate(network, x, y, config)` → {metric: number} instead of Keras's `evaluate`;
* `TIMED = True`: `metrics.valid` also has what each epoch took, evaluation included: `seconds`, and
  `processor_seconds`, which count all threads and no other process;
* `before_epoch(network, epoch, config)`: a schedule; `stop(metrics)`: true where these
  validation metrics end the training;
* `generated(network)` → how many weights the network generates for a sample (else 0);
* `transfer(network, model, data, config)` → {metric: number, or None where it can't be had}: more
  test metrics, of other data than the task's;
* `draw(network, data, config, path)`: a small picture of seed 0's chosen weights; with
  `trace(network, data, config)` → nested lists, it also gets a list of what that gave each epoch;
* `plot(records, path)` instead of learning curves;
* `measure(model, config, seed)` → {"metrics": {"test": …}, "parameters": … or None} instead of
  `data`, `build` and training, for what is no training at all; where the task has `data`, with
  what that gave as a fourth argument, for training of another kind.

`seed` sets Keras's global seed before `build`, so layers without a seed of their own follow it.
After every epoch weights, optimizer, seed generators, best weights and history go to one file,
`checkpoints/<record>.npz` beside the record, which goes once the record stands. A run holds a lock
there, so that a second process in the same folder takes other runs, and waits for the rest.
"""

import contextlib
import itertools
import json
import math
import time

import numpy as np

from reproductions.data.data_dir import DataError
from reproductions.engine import atomic_files, checkpoints, malloc, records

NOT_CONFIGURATION = ("models", "data", "seeds", "more_seeds")


def configurations(task, model, preset, data, epochs=None):
    """What is run for `model`: a list of dicts."""
    if hasattr(task, "configurations"):
        found = task.configurations(model, preset, data)
    else:
        found = [task.PRESETS[preset]]
    override = {} if epochs is None else {"epochs": epochs}
    kept = [
        {k: v for k, v in one.items() if k not in NOT_CONFIGURATION} | override for one in found
    ]
    return json.loads(json.dumps(kept))  # as a record gives it back: tuples become lists


def compile_classifier(network, optimizer):
    """For class scores (logits) and integer labels."""
    import keras

    network.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # On a CPU XLA's convolutions take four times as long as TensorFlow's own.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def seeds_of(task, model, preset):
    settings = task.PRESETS[preset]
    return settings.get("more_seeds", {}).get(model, settings["seeds"])


def run(
    task,
    models,
    preset,
    data_name,
    folder,
    data_dir=None,
    seeds=None,
    epochs=None,
    deterministic=False,
    distribute=None,
):
    """Run what has no finished record of this configuration in `folder`; the number of failures.

    `deterministic` says that the backend's operations are: records and checkpoints of others don't
    count then. `distribute()` gives the scope that places a network on several devices.
    """
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    if hasattr(task, "data"):  # else it may measure time and memory as they are for all
        malloc.keep_freed()
    name, failed, over = task.__name__.rpartition(".")[2], 0, 0
    todo = [
        dict(task=name, model=model, preset=preset, data=data_name, seed=seed, config=config)
        for model in models
        for config in configurations(task, model, preset, data_name, epochs)
        for seed in range(seeds or seeds_of(task, model, preset))
    ]
    paths = [folder / records.file_name(task, one) for one in todo]
    pending = [
        (one, path)
        for one, path in zip(todo, paths, strict=True)
        if not _done(one, path, deterministic)
    ]
    columns = "{task.description}", BarColumn(), "{task.percentage:.0f} %", TimeRemainingColumn()
    with Progress(*columns) as progress, contextlib.ExitStack() as stack:
        bar = progress.add_task(name, total=sum(_epochs(one) for one, _ in pending))
        runs = contextlib.closing(_shared(pending, progress.console.print))
        for one, path in stack.enter_context(runs):
            if _done(one, path, deterministic):  # by another process, since
                over += _epochs(one)
                continue
            progress.update(bar, description=_title(path), completed=over)

            def advance(count, past=over):
                progress.update(bar, completed=past + count)

            record = one | _run(task, one, path, data_dir, deterministic, advance, distribute)
            record["command"] = records.command(
                one, epochs, data_dir, deterministic, distribute is not None
            )
            records.write(path, record)
            if record["status"] == "failed":
                failed += 1
            else:
                atomic_files.remove(checkpoints.path_of(path))
            text = f"{_title(path)}: {_summary(record)}"
            progress.console.print(text, markup=False, highlight=False)
            over += _epochs(one)
            advance(0, over)
    return failed


def _epochs(one):
    return one["config"].get("epochs", 1)


def _title(path):
    return path.stem.replace("-", " ")


def _shared(pending, say):
    """Yields each run under its lock; last those that another process holds now."""
    held = []
    for wait, runs in ((False, pending), (True, held)):
        for one, path in runs:
            checkpoint = checkpoints.path_of(path)
            if wait:
                say(f"{_title(path)}: waiting for the process that runs it", markup=False)
            with atomic_files.lock(checkpoint.with_suffix(".lock"), wait) as mine:
                if not mine:
                    held.append((one, path))
                    continue
                atomic_files.sweep(path)
                atomic_files.sweep(checkpoint)
                yield one, path


def _done(one, path, deterministic):
    """Whether there is a finished record of this very run; says so."""
    if not path.exists():
        return False
    record = records.read(path)
    done = record["status"] == "finished" and all(record[key] == one[key] for key in one)
    done = done and (not deterministic or "--deterministic" in (record["command"] or "").split())
    if done:
        print(f"{_title(path)}: finished before, skipped")
    return done


def _summary(record):
    if record["status"] == "failed":
        return f"failed: {record['error']}"
    found = record["metrics"]["test"].items()
    figures = ", ".join(f"{key} {value:.4g}" for key, value in found if value is not None)
    return f"{figures}, {record['seconds']:.0f} s"


def _run(task, one, path, data_dir, deterministic, advance, distribute):
    """The rest of the record of the run `one`."""
    data = None
    if hasattr(task, "data"):
        data = task.data(one["data"], one["config"], data_dir)  # fails at once where it is missing
    found = records.environment()
    try:
        if hasattr(task, "measure"):
            if deterministic:  # which wants a seed for all that is drawn
                _seed(one)
            start, given = time.perf_counter(), () if data is None else (data,)
            found |= task.measure(one["model"], one["config"], one["seed"], *given)
            found["seconds"] = round(time.perf_counter() - start, 1)
        else:
            found |= _fit(task, one, data, path, deterministic, advance, distribute)
        return found | {"status": "finished"}
    except (records.RecordError, DataError):
        raise
    except Exception as error:
        return found | {"status": "failed", "error": f"{type(error).__name__}: {error}"}


def _seed(one):
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(one["seed"])


def _fit(task, one, data, path, deterministic, advance, distribute):
    _seed(one)  # which leaves no scope standing
    checkpoint = checkpoints.path_of(path), one | ({"deterministic": True} if deterministic else {})
    with distribute() if distribute else contextlib.nullcontext():
        network = task.build(one["model"], one["config"], data)
        metrics, seconds, traces = train(task, one, network, data, checkpoint, advance)
    if one["seed"] == 0 and hasattr(task, "draw"):
        path.parent.mkdir(parents=True, exist_ok=True)
        more = (traces,) if hasattr(task, "trace") else ()
        task.draw(network, data, one["config"], path.with_suffix(".png"), *more)
    parameters = {
        "trainable": sum(math.prod(weight.shape) for weight in network.trainable_weights),
        "generated": task.generated(network) if hasattr(task, "generated") else 0,
    }
    return {"metrics": metrics, "seconds": round(seconds, 1), "parameters": parameters}


def prefetched(batches):
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


def train(task, one, network, data, checkpoint, advance):
    """Fit by epochs and leave the weights in `network` that were best on validation; test those.

    `checkpoint` is a path, and what tells the run from others.
    """
    import keras

    config, (monitor, direction) = one["config"], next(iter(task.METRICS.items()))
    steps, sign = config["steps"], {"max": 1, "min": -1}[direction]
    network.optimizer.build(network.trainable_variables)
    progress = {"epoch": 0, "seconds": 0.0, "curve": [], "traces": [], "best": None, "ended": False}
    best, times = [], {"seconds": [], "processor_seconds": []}
    if checkpoint[0].exists():
        progress, best = checkpoints.restore(*checkpoint, network) or (progress, best)
    progress.setdefault("times", times)  # of each epoch; older checkpoints have none

    def evaluate(x, y):
        if hasattr(task, "evaluate"):
            found = task.evaluate(network, x, y, config)
        else:
            found = network.evaluate(x, y, batch_size=250, verbose=0, return_dict=True)
        return {key: float(found[key]) for key in task.METRICS if key in found}

    while progress["epoch"] < config["epochs"] and not progress["ended"]:
        start, epoch = (time.perf_counter(), time.process_time()), progress["epoch"]
        if hasattr(task, "before_epoch"):
            task.before_epoch(network, epoch, config)

        def count(batch, logs, epoch=epoch):
            advance(epoch + (batch + 1) / steps)

        trained = []

        def keep(epoch, logs, trained=trained):
            if network.optimizer.use_ema:  # in whose place `fit` leaves the averages
                trained.extend(variable.numpy() for variable in network.trainable_variables)

        history = network.fit(
            prefetched(data.train(one["seed"], epoch)),
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=count, on_epoch_end=keep)],
        ).history
        valid = evaluate(*data.valid)
        if not np.isfinite([*history["loss"], *valid.values()]).all():
            raise FloatingPointError(f"epoch {epoch + 1}: loss {history['loss'][0]}, {valid}")
        progress["curve"].append(valid[monitor])
        if not best or sign * valid[monitor] > sign * progress["best"][monitor]:
            progress["best"] = valid | {"epoch": epoch + 1}
            best = [variable.numpy() for variable in network.variables]
        if one["seed"] == 0 and hasattr(task, "trace"):
            progress["traces"].append(task.trace(network, data, config))
        if network.optimizer.use_ema:
            for variable, value in zip(network.trainable_variables, trained, strict=True):
                variable.assign(value)
        progress["epoch"] += 1
        progress["ended"] = hasattr(task, "stop") and bool(task.stop(valid))
        taken = time.perf_counter() - start[0], time.process_time() - start[1]
        for values, value in zip(progress["times"].values(), taken, strict=True):
            values.append(round(value, 3))
        progress["seconds"] += taken[0]
        checkpoints.save(*checkpoint, network, progress, best)
    for variable, value in zip(network.variables, best, strict=True):
        variable.assign(value)
    valid, test = progress["best"] | {"curve": progress["curve"]}, evaluate(*data.test)
    if getattr(task, "TIMED", False):
        valid |= progress["times"]
    if hasattr(task, "transfer"):
        test |= task.transfer(network, one["model"], data, config)
    return {"valid": valid, "test": test}, progress["seconds"], progress["traces"]
