"""Records → tables in the terminal, charts and pages. Never trains."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from reproductions.engine import atomic_files
from reproductions.engine.matrix import cells, page
from reproductions.engine.matrix import picture as matrix_picture
from reproductions.engine.results import charts, pages, summary
from reproductions.engine.task import Record, Task

MANY = 8  # curves from which on their names stand beside the picture
WIDE = 8  # metrics from which the terminal shows the first one alone


def show(task: Task, preset: str, root: Path) -> None:
    """Table and pictures' paths in the terminal; nothing where no record exists."""
    from rich.console import Console
    from rich.table import Table

    runs = pages.load(task, preset, root)
    if not runs:
        return
    console, grid = Console(), Table(title=f"{task.name}, {preset}: test data")
    if not console.is_terminal:  # a log has room for the table's columns
        console.width = 140
    table = pages.headline_table if len(task.metrics) > WIDE else pages.full_table
    heads, rows = table(task, preset, summary.rows(task, preset, runs))
    for head in heads:
        grid.add_column(head, overflow="fold")
    for row in rows:
        grid.add_row(*(text.replace("[", r"\[") for text in row))
    console.print(grid)
    plot(task, runs, root / task.name / preset / "curves.png")
    for picture in pages.pictures(task, preset, root):
        console.print(f"picture: {picture}", soft_wrap=True, markup=False, highlight=False)


def plot(task: Task, runs: Sequence[Record], path: Path) -> None:
    """The task's own plot; or validation by epochs, the mean of a row's runs and their range."""
    done = [run for run in runs if run["status"] == "finished"]
    if not done:
        return
    if task.plot is not None:
        task.plot(done, path)
        return
    from matplotlib.figure import Figure

    curves: dict[str, list[list[float]]] = {}
    for run in done:
        words = [run["model"], *map(str, task.label_values(run["config"]).values())]
        label = " ".join([*words, run["data"]]) + summary.other_settings(task, run)
        curves.setdefault(label, []).append(run["metrics"]["valid"]["curve"])
    many = len(curves) > MANY
    size = (9, max(3.6, 0.17 * len(curves) + 0.4)) if many else (6, 3.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for k, (label, lines) in enumerate(curves.items()):
        columns = list(zip(*(line[: min(map(len, lines))] for line in lines), strict=True))
        epochs, means = range(1, len(columns) + 1), [statistics.fmean(c) for c in columns]
        # Ten colors, then the same again in dashes and dots.
        axes.plot(epochs, means, ("-", "--", ":")[k // 10 % 3], label=label)
        axes.fill_between(epochs, [min(c) for c in columns], [max(c) for c in columns], alpha=0.2)
    axes.set(xlabel="epoch", ylabel=f"validation {next(iter(task.metrics))}")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if many:
        figure.legend(loc="outside right upper", fontsize=7)
    else:
        axes.legend()
    figure.savefig(path, dpi=100)


def chart_of(task: Task, root: Path) -> dict | None:
    """The data of a task's chart; None where no run has finished."""
    runs_by_preset = {preset: pages.load(task, preset, root) for preset in task.presets}
    first = summary.first_preset(task, runs_by_preset)
    if first is None:
        return None
    rows = summary.rows(task, first, runs_by_preset[first])
    drawn = any(row.values(task.shown[0]) for row in rows)
    return charts.chart(task, first, rows) if drawn else None


def write_page(task: Task, root: Path) -> Path:
    """Write the chart and the page of a task; the page's path."""
    chart_data, path = chart_of(task, root), root / task.name / pages.PAGE
    if chart_data is not None:
        charts.write(chart_data, path.with_name(pages.CHART))
    atomic_files.write(path, pages.page(task, root).encode())
    return path


def write_index(tasks: Iterable[Task], root: Path) -> Path:
    path = root / pages.PAGE
    atomic_files.write(path, pages.index(tasks, root).encode())
    return path


def show_matrix(tasks: Sequence[Task], preset: str, root: Path) -> None:
    """The matrix in the terminal, a sentence a task, and the picture's path."""
    from rich.console import Console
    from rich.table import Table

    console, grid = Console(), Table(title=f"the matrix, {preset}: test data")
    if not console.is_terminal:
        console.width = 140
    rows = [cells.cells(task, preset, root) for task in cells.tasks_of(tasks, preset)]
    for head in page.HEADS:
        grid.add_column(head, overflow="fold")
    for row in rows:
        for line in page.table(row):
            grid.add_row(*line)
        grid.add_section()
    console.print(grid)
    for row in rows:
        console.print(f"{row[0].task.name}: {cells.line(row)}", markup=False, highlight=False)
    path = matrix_picture.path_of(root, preset)
    console.print(f"picture: {path}", soft_wrap=True, markup=False, highlight=False)


def write_matrix(tasks: Sequence[Task], root: Path) -> Path:
    """Write the matrix's pictures and its page; the page's path."""
    for preset in page.presets(tasks, root):
        path = matrix_picture.path_of(root, preset)
        matrix_picture.write(matrix_picture.data(tasks, preset, root), path)
    path = root / page.NAME / pages.PAGE
    atomic_files.write(path, page.page(tasks, root).encode())
    return path


def between(text: str, name: str, content: str) -> str:
    """`text` with `content` between its lines `<!-- name -->` and `<!-- /name -->`."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"expected the lines {start} and {end}")
    return f"{before}{start}\n{content}{end}{after}"


def readme(text: str, tasks: Sequence[Task], root: Path, prefix: str) -> str:
    """The text of a README with the matrix and the table of headlines between their markers."""
    image = f"{prefix}{page.NAME}/{page.picture_name(page.FIRST)}"
    view = page.view(tasks, page.FIRST, root, image, lambda name: f"{prefix}{name}/{pages.PAGE}")
    return between(between(text, "matrix", view), "results", pages.headlines(tasks, root, prefix))


def docs_page(text: str, tasks: Sequence[Task], root: Path, prefix: str) -> str:
    """The text of a page of the docs, which has copies of the results, with the matrix."""
    image = f"{prefix}{page.NAME}/{page.picture_name(page.FIRST)}"
    view = page.view(tasks, page.FIRST, root, image, lambda name: f"results/{name}.md")
    return between(text, "matrix", view)


def write_readme(tasks: Sequence[Task], root: Path, path: Path) -> None:
    """Renew the tables in the README at `path`, which links to the pages in `root`."""
    prefix = f"{root.relative_to(path.parent).as_posix()}/"
    atomic_files.write(path, readme(path.read_text(), tasks, root, prefix).encode())


def write_docs_page(tasks: Sequence[Task], root: Path, path: Path) -> None:
    """Renew the matrix in the page of the docs at `path`."""
    prefix = f"../{root.relative_to(path.parents[1]).as_posix()}/"
    atomic_files.write(path, docs_page(path.read_text(), tasks, root, prefix).encode())
