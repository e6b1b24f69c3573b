"""The code that users read: tutorials, docstrings' examples, and what the pages draw and count."""

import ast
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import keras
import matplotlib
import numpy as np
import pytest
from catalogue import ABSTRACT

import hyperkeras

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
NOTEBOOKS = [path for path in sorted(DOCS.rglob("*.md")) if "{code-cell}" in path.read_text()]


def load(path):
    """The module at `path`, which is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Notebooks


def cells(page):
    """The code of the page's cells, without their options."""
    found = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", page, re.S | re.M)
    return [re.sub(r"\A(?::.*\n|\n)+", "", cell) for cell in found]


def test_cells_are_found_without_their_options():
    page = "a\n```{code-cell} ipython3\n:tags: [x]\n\nf(1)\n```\n```python\ng()\n```\n"
    assert cells(page) == ["f(1)\n"]


@pytest.fixture
def short_training(monkeypatch):
    """Two steps for every `fit`: the build of the documentation trains in full."""
    whole = keras.Model.fit

    def fit(self, *args, **kwargs):
        return whole(self, *args, **kwargs | {"epochs": 1, "steps_per_epoch": 2})

    monkeypatch.setattr(keras.Model, "fit", fit)


@pytest.fixture
def same_console():
    """Puts back the console, which `reproduce.md` changes."""
    import rich

    yield
    rich.reconfigure()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, short_training, same_console, monkeypatch):
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.syspath_prepend(str(path.parent))
    names, drawn = {"__name__": "tutorial"}, 0
    for i, cell in enumerate(cells(path.read_text())):
        exec(compile(cell, f"{path.name}, cell {i}", "exec"), names)
        drawn += len(plt.get_fignums())
        plt.close("all")
    assert drawn or path.stem == "questions", "a page without a picture"
    for name in set(sys.modules) & {"costs"}:
        del sys.modules[name]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_say_what_they_are_for(path):
    page = path.read_text()
    openings = [page.index(f"**{word}.**") for word in ("Purpose", "Running time")]
    openings.append(page.index("**What you learn.**"))
    assert openings == sorted(openings) and openings[-1] < page.index("\n## ")
    for part in ("$$", "from hyperkeras import", "plt.", "## What to try next"):
        assert part in page, f"no {part}"
    assert f"tutorials/{path.stem}\n" in (DOCS / "index.md").read_text()


# Examples of docstrings

EXAMPLES = [
    pytest.param(block, id=f"{part}.{name}")
    for part in ("initializers", "layers", "models", "ops")
    for name in getattr(hyperkeras, part).__all__
    for block in re.findall(
        r"```python\n(.*?)```",
        inspect.getdoc(getattr(getattr(hyperkeras, part), name)),
        re.S,
    )
]


def run_example(code):
    """Runs `code`; where a comment `# (…)` follows an expression, that is what it has to give."""
    names = {"keras": keras, "hyperkeras": hyperkeras, "np": np}
    lines, checked = code.splitlines(), 0
    for node in ast.parse(code).body:
        if not isinstance(node, ast.Expr):
            exec(compile(ast.Module([node], []), "example", "exec"), names)
            continue
        value = eval(compile(ast.Expression(node.value), "example", "eval"), names)
        said = re.match(r"\s*# (\([^)]*\))", lines[node.end_lineno - 1][node.end_col_offset :])
        if said:
            assert str(value) == said[1]
            checked += 1
    return checked


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_of_docstrings_run(code):
    run_example(code)


def test_an_example_is_checked():
    assert run_example("x = keras.ops.zeros((2, 3))\nx.shape  # (2, 3), of zeros") == 1
    with pytest.raises(AssertionError):
        run_example("keras.ops.zeros((2, 3)).shape  # (3, 2)")


@pytest.mark.parametrize("name", hyperkeras.layers.__all__)
def test_layers_have_an_example(name):
    cls = getattr(hyperkeras.layers, name)
    assert name in ABSTRACT or "```python" in cls.__doc__
    assert ">>>" not in cls.__doc__, "examples stand in ```python blocks, which a test runs"


# What pages draw and count


def test_the_costs_are_those_of_the_records(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    costs = load(DOCS / "costs.py")
    runs = costs.records("hyper_lstm")
    row = costs.measured("hyper_lstm").splitlines()[2]
    times = [np.mean([run["metrics"]["test"][key] for run in runs]) for key in ("ms", "other_ms")]
    assert " / ".join(f"{time:.3g}" for time in times) in row
    assert f"{times[0] / times[1]:.3g}\N{NO-BREAK SPACE}×" in row
    assert all(run["device"] in costs.device() for run in runs)


def test_every_measured_model_has_a_place_in_the_costs():
    costs, page = load(DOCS / "costs.py"), (DOCS / "choosing.md").read_text()
    measured = {path.name.split("-")[0] for path in costs.RECORDS.glob("*.json")}
    assert measured - {"contract"} <= set(costs.NAMES)
    for name in costs.NAMES:
        assert f'"{name}"' in page


def test_the_first_picture_is_what_its_script_draws():
    family = load(DOCS / "images/family.py")
    assert family.svg() == (DOCS / "images/family.svg").read_text(encoding="utf-8")
