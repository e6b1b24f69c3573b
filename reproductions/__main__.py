"""The papers' experiments: baseline against hypernetwork against sparse layer, in one table."""

import argparse
import importlib.util
import os
import pkgutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Else oneDNN's allocator keeps all that it ever got, and no peak of memory can be told.
os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
DOCS_PAGE = Path(__file__).parents[1] / "docs" / "index.md"
TASKS = Path(__file__).parent / "tasks"


def tasks():
    """The names of the tasks: the modules and packages in their folder."""
    return sorted(module.name for module in pkgutil.iter_modules([str(TASKS)]))


def known(kind, name, names):
    """`name`, or exit code 2 with the names there are."""
    if name not in names:
        print(f"unknown {kind} {name!r}; known: {', '.join(names)}", file=sys.stderr)
        raise SystemExit(2)
    return name


def load(name):
    return importlib.import_module(f"reproductions.tasks.{known('task', name, tasks())}").TASK


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m reproductions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the tasks, with models, presets and data")
    run = commands.add_parser(
        "run", help="train, evaluate and record; resumes, skips what is finished"
    )
    tune = commands.add_parser(
        "tune", help="choose settings on validation data, each model by as many trials; resumes"
    )
    for command in (run, tune):
        command.add_argument("task")
        command.add_argument("--models", help="some of the preset's models, separated by commas")
        command.add_argument(
            "--preset",
            default="quick",
            help="smoke, demo: seconds, quick: minutes, full: as in the paper",
        )
        command.add_argument("--data", help="another data set than the preset's")
        command.add_argument("--data-dir", type=Path, help="the folder of prepared or raw data")
        command.add_argument("--epochs", type=positive, help="instead of the preset's number")
        command.add_argument("--out", type=Path, help="the folder of the records")
    tune.add_argument(
        "--trials", type=positive, required=True, help="how many each model has in the end"
    )
    run.add_argument("--seeds", type=positive, help="how many seeds: 0, 1, …")
    run.add_argument(
        "--deterministic",
        action="store_true",
        help="slower; the same seed gives the same bits again (TensorFlow)",
    )
    run.add_argument(
        "--distribute",
        action="store_true",
        help="each batch over all devices of this machine (TensorFlow, JAX)",
    )
    run.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="hand the runs to a Ray cluster; without address, to one of this machine's processors",
    )
    matrix = commands.add_parser("matrix", help="families × tasks: table and picture from records")
    matrix.add_argument("--run", action="store_true", help="first run what has no record")
    matrix.add_argument("--preset", default="quick", help="demo, quick or full")
    matrix.add_argument("--seeds", type=positive, help="how many seeds: 0, 1, …")
    matrix.add_argument("--data-dir", type=Path, help="the folder of prepared or raw data")
    matrix.add_argument("--out", type=Path, default=RESULTS, help="the folder of the records")
    report = commands.add_parser("report", help="pages and charts from the records; never trains")
    report.add_argument("--out", type=Path, default=RESULTS, help="the folder of the records")
    page = commands.add_parser("page", help="a task's HTML pages, from what its runs left")
    page.add_argument("task")
    page.add_argument("--out", type=Path, default=RESULTS, help="the folder of the records")
    return parser.parse_args(arguments)


def show_list():
    for name in tasks():
        task = load(name)
        print(f"{name}: {task.about.splitlines()[0]}")
        for preset, settings in task.presets.items():
            models = ", ".join(task.models_of(preset))
            print(f"  {preset:<6} {models}; data {settings['data']}, seeds {settings['seeds']}")
        for data, about in task.data_sets.items():
            print(f"  --data {data}: {about}")
    return 0


def make_deterministic():
    import keras

    backend = keras.backend.backend()
    if backend != "tensorflow":
        print(f"--deterministic needs KERAS_BACKEND=tensorflow, got {backend}", file=sys.stderr)
        raise SystemExit(2)
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()


def devices(task):
    """A function that gives the scope in which `task` is built and trained on all devices."""
    import contextlib

    import keras

    backend, why = keras.backend.backend(), None
    if task.measure is not None:
        why = f"{task.name} does not train by Keras's `fit`, which divides the batches"
    elif backend not in ("jax", "tensorflow"):
        why = f"needs KERAS_BACKEND=tensorflow or jax, got {backend}"
    if why:
        print(f"--distribute: {why}", file=sys.stderr)
        raise SystemExit(2)
    if backend == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        return contextlib.nullcontext
    import tensorflow as tf

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(names) == 1:  # the same as without
        return contextlib.nullcontext
    return tf.distribute.MirroredStrategy(names).scope


def cluster(options):
    """The module that runs on a cluster, or exit code 2."""
    why = None
    if options.deterministic or options.distribute:
        why = "--deterministic and --distribute are for runs on this machine"
    elif importlib.util.find_spec("ray") is None:
        why = "Ray is not installed: pip install 'hyperkeras[cluster]'"
    if why:
        print(f"--ray: {why}", file=sys.stderr)
        raise SystemExit(2)
    return importlib.import_module("reproductions.engine.cluster")


def chosen(task, options):
    """Preset, models, data set and folder that are asked for, or exit code 2."""
    preset = known("preset", options.preset, list(task.presets))
    choice = task.models_of(preset)
    models = options.models.split(",") if options.models else choice
    for model in models:
        known("model", model, choice)
    data = known("data", options.data or task.presets[preset]["data"], list(task.data_sets))
    out = options.out or RESULTS
    if options.out is None and preset == "smoke":
        out = Path(tempfile.mkdtemp(prefix="reproductions-"))
    return preset, models, data, out


def run(options):
    task = load(options.task)
    preset, models, data, out = chosen(task, options)

    from reproductions.engine import harness, report
    from reproductions.engine.run_options import RunOptions

    if options.deterministic:
        make_deterministic()
    how = RunOptions(
        preset=preset,
        data=data,
        folder=out / task.name / preset,
        data_dir=options.data_dir,
        seeds=options.seeds,
        epochs=options.epochs,
        deterministic=options.deterministic,
        scope=devices(task) if options.distribute else None,
    )
    if options.ray is not None:
        failed = cluster(options).run(task, models, how, options.ray or None)
    else:
        failed = harness.run(task, models, how)
    report.show(task, preset, out)
    print(report.write_page(task, out))
    return 1 if failed else 0


def tune(options):
    task = load(options.task)
    preset, models, data, out = chosen(task, options)

    from reproductions.engine import report
    from reproductions.engine.run_options import RunOptions
    from reproductions.engine.tuning import study, trials

    how = RunOptions(
        preset=preset,
        data=data,
        folder=study.folder(task, preset, out),
        data_dir=options.data_dir,
        epochs=options.epochs,
        test=False,
    )
    try:
        failed = study.tune(task, models, how, options.trials)
    except study.Untunable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    trials.show(task, preset, out)
    print(report.write_page(task, out))
    return 1 if failed else 0


def show_matrix(options):
    from reproductions.engine import harness, report
    from reproductions.engine.matrix import cells
    from reproductions.engine.run_options import RunOptions

    all_tasks = [load(name) for name in tasks()]
    rows = [task for task in all_tasks if task.display.matrix is not None]
    names = sorted({preset for task in rows for preset in task.presets})
    preset, failed = known("preset", options.preset, names), 0
    if options.run:
        asked = [
            (
                task,
                cells.models_of(task, preset),
                RunOptions(
                    preset=preset,
                    data=task.presets[preset]["data"],
                    folder=options.out / task.name / preset,
                    data_dir=options.data_dir,
                    seeds=options.seeds,
                ),
            )
            for task in cells.tasks_of(rows, preset)
        ]
        failed = harness.run_all(asked)
    written = report.write_matrix(rows, options.out)
    report.show_matrix(rows, preset, options.out)
    print(written)
    return 1 if failed else 0


def show_report(options):
    from reproductions.engine import report
    from reproductions.engine.tuning import trials

    all_tasks = [load(name) for name in tasks()]
    for task in all_tasks:
        for preset in task.presets:
            report.show(task, preset, options.out)
            trials.show(task, preset, options.out)
        report.write_page(task, options.out)
    report.write_matrix(all_tasks, options.out)
    print(report.write_index(all_tasks, options.out))
    if options.out == RESULTS:
        report.write_readme(all_tasks, RESULTS, README)
        report.write_docs_page(all_tasks, RESULTS, DOCS_PAGE)
    return 0


def make_pages(options):
    task = load(options.task)
    written = [
        path for preset in task.presets for path in task.pages(options.out / task.name / preset)
    ]
    print(*written or [f"{task.name} has no pages"], sep="\n")
    return 0


def main(arguments=None):
    """The exit code: 0, 1 for a failed run or unusable files, 2 for a bad argument."""
    options = parse(arguments)
    from reproductions.data.data_dir import DataError
    from reproductions.engine.records import RecordError

    try:
        if options.command == "list":
            return show_list()
        if options.command == "page":
            return make_pages(options)
        if options.command == "tune":
            return tune(options)
        if options.command == "matrix":
            return show_matrix(options)
        return run(options) if options.command == "run" else show_report(options)
    except (DataError, RecordError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on after the last epoch", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
