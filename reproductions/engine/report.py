"""Records → tables, plots and RESULTS.md. Never trains.

A cell is the test metric's mean ± sample standard deviation (number of runs). Runs with different
configurations never share a row; what the preset asks for and has no record reads "not run".
"""

import json
import statistics

from reproductions.engine import atomic_files, records

HEAD = """# Results

Made from the records in this folder by `python -m reproductions report`, never edited by hand.
Weights and settings were chosen on validation data; the figures are of test data: mean ± sample
standard deviation (runs). Accuracies are fractions. "not run" means that no record exists.
"""


def load(task, preset, root):
    """The records of a task and preset under `root`, sorted by file name."""
    return [records.read(path) for path in sorted((root / task.name / preset).glob("*.json"))]


def cell(values):
    """Mean ± spread (runs) of `values`; None where a run could not have the metric."""
    if not values:
        return "not run"
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.4g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4g}{spread} ({len(values)})"


def published(task, preset, model, labels):
    """Other people's figures for a row, of these labels: "metric value (source) [notes]; …"."""
    texts = []
    for one in task.published:
        same = one["model"] == model and one.get("preset", "full") == preset
        if same and all(one.get(key, value) == value for key, value in labels.items()):
            notes = "".join(f" [{n}]" for n in one.get("notes", ()))
            texts.append(f"{one['metric']} {one['value']:g} ({one['source']}){notes}")
    return "; ".join(texts)


def groups(task, preset, found):
    """(model, labels, data, runs) a row: the preset's, others' models, other settings."""
    settings, rows = task.presets[preset], {}
    data, asked = settings["data"], list(settings.get("models", task.models))
    for one in task.published:
        if one.get("preset", "full") == preset and one["model"] not in asked:
            asked.append(one["model"])
    for model in asked:
        ours = model in task.models
        for config in task.settings(model, preset, data) if ours else [{}]:
            rows[model, data, json.dumps(config, sort_keys=True)] = []
    for run in found:
        key = run["model"], run["data"], json.dumps(run["config"], sort_keys=True)
        rows.setdefault(key, []).append(run)
    for (model, data, config), runs in rows.items():
        yield model, task.label_values(json.loads(config)), data, runs


def other_settings(task, run):
    """What a run's configuration has that the preset's has not, and what it lacks, as text."""
    asked = task.settings(run["model"], run["preset"], run["data"])
    labels = task.label_values(run["config"])
    base = next((one for one in asked if task.label_values(one) == labels), {})
    changes = [(k, v) for k, v in sorted(run["config"].items()) if k not in base or base[k] != v]
    lacks = sorted(base.keys() - run["config"].keys())
    return "".join([f" {key}={value}" for key, value in changes] + [f" no {key}" for key in lacks])


def table(task, preset, found):
    """Column heads and rows of text."""
    names, rows = task.labels, []
    for model, labels, data, runs in groups(task, preset, found):
        done = [run for run in runs if run["status"] == "finished"]
        failed = f", {len(runs) - len(done)} failed" if len(runs) > len(done) else ""
        rows.append(
            [
                model + (other_settings(task, runs[0]) if runs else ""),
                *(str(labels.get(name, "")) for name in names),
                data,
                " / ".join(sorted({_parameters(run) for run in done})),
                *(cell(_values(done, metric)) + failed for metric in task.metrics),
                f"{statistics.fmean(run['seconds'] for run in done):.0f}" if done else "",
                published(task, preset, model, labels | {"data": data}),
            ]
        )
    heads = ["model", *names, "data", "parameters", *task.metrics, "seconds", "published"]
    kept = [i for i, head in enumerate(heads) if head != "published" or any(r[-1] for r in rows)]
    return [heads[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _values(runs, metric):
    found = [run["metrics"]["test"] for run in runs]
    return [test[metric] for test in found if metric in test]


def _parameters(run):
    if not run["parameters"]:
        return ""
    made = run["parameters"]["generated"]
    return f"{run['parameters']['trainable']:,}" + (f" (+{made:,} generated)" if made else "")


def show(task, preset, root):
    """Table and pictures' paths in the terminal; nothing where no record exists."""
    from rich.console import Console
    from rich.table import Table

    found = load(task, preset, root)
    if not found:
        return
    console, grid = Console(), Table(title=f"{task.name}, {preset}: test data")
    if not console.is_terminal:  # a log has room for the table's columns
        console.width = 140
    heads, rows = table(task, preset, found)
    for head in heads:
        grid.add_column(head, overflow="fold")
    for row in rows:
        grid.add_row(*(text.replace("[", r"\[") for text in row))
    console.print(grid)
    plot(task, found, root / task.name / preset / "curves.png")
    for picture in pictures(task, preset, root):
        console.print(f"picture: {picture}", soft_wrap=True, markup=False, highlight=False)


def pictures(task, preset, root):
    return sorted((root / task.name / preset).glob("*.png"))


def plot(task, found, path):
    """The task's own plot; or validation by epochs, the mean of a row's runs and their range."""
    done = [run for run in found if run["status"] == "finished"]
    if not done:
        return
    if task.plot is not None:
        task.plot(done, path)
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes, curves = figure.subplots(), {}
    for run in done:
        words = [run["model"], *map(str, task.label_values(run["config"]).values())]
        label = " ".join([*words, run["data"]]) + other_settings(task, run)
        curves.setdefault(label, []).append(run["metrics"]["valid"]["curve"])
    for label, lines in curves.items():
        columns = list(zip(*(line[: min(map(len, lines))] for line in lines), strict=True))
        epochs = range(1, len(columns) + 1)
        axes.plot(epochs, [statistics.fmean(column) for column in columns], label=label)
        axes.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns], alpha=0.2)
    axes.set(xlabel="epoch", ylabel=f"validation {next(iter(task.metrics))}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    figure.savefig(path, dpi=100)


def markdown(tasks, root):
    """The text of RESULTS.md."""
    text = [HEAD]
    for task in tasks:
        text.append(f"## {task.name}\n\n{task.about.strip()}\n")
        for preset in task.presets:
            found = load(task, preset, root)
            if preset == "smoke" and not found:
                continue
            text.append(f"### `python -m reproductions run {task.name} --preset {preset}`\n")
            heads, rows = table(task, preset, found)
            lines = [heads, ["---"] * len(heads), *rows]
            text.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
            # Side by side, as far as the page is wide.
            images = [f"![]({path.relative_to(root)})" for path in pictures(task, preset, root)]
            text += ["\n".join(images) + "\n"] if images else []
            text += sorted({_circumstances(run) for run in found})
        text += [f"[{n}] {note}\n" for n, note in enumerate(task.deviations, 1)]
    return "\n".join(text)


def _circumstances(run):
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return f"Run on {run['device']}; {versions}.\n"


def write(tasks, root):
    """Write RESULTS.md; its path."""
    path = root / "RESULTS.md"
    atomic_files.write(path, markdown(tasks, root).encode())
    return path
