"""Sphinx configuration: `make docs` builds with warnings as errors."""

import importlib.util
import inspect
import os
import re
import sys
import textwrap
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
sys.path.insert(0, ROOT)
# Notebooks run in processes of their own, which find the checkout in the environment.
os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hyperkeras  # noqa: E402

project = "hyperkeras"
author = "The hyperkeras authors"
copyright = author
version = release = hyperkeras.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "results/README.md"]  # the latter is included in results.md
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "force"  # every build runs every notebook
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds a cell, for slow machines
nb_output_stderr = "remove"  # TensorFlow logs what it finds in the machine
nb_render_markdown_format = "myst"  # what cells print as Markdown may hold tables
napoleon_custom_sections = [("Call arguments", "params_style"), "Input shape", "Output shape"]

html_theme = "furo"
html_title = f"hyperkeras {release}"
# One script that draws the formulas and has its glyphs in itself, so that pages need no network.
MATHJAX = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).with_name("static")
html_static_path = ["static", str(MATHJAX / "mathjax/tex-svg.js")]
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}  # its menu would fetch further scripts
html_css_files = ["pages.css"]


def constructor_signature(app, what, name, obj, options, signature, returns):
    """Keras layers define `__new__(*args, **kwargs)`; the arguments stand at `__init__`."""
    if what != "class":
        return None
    parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
    return str(inspect.Signature(parameters)), returns


def markdown_to_rst(app, what, name, obj, options, lines):
    """Docstrings follow Keras, whose inline code, code blocks and links are Markdown."""
    parts = re.split(r"( *)```python\n(.*?)```", "\n".join(lines), flags=re.DOTALL)
    for i in range(0, len(parts), 3):  # text, a block's indent, the block, text, ...
        text = re.sub(r"(?<![`:])`([^`]+)`(?!`)", r"``\1``", parts[i])
        parts[i] = re.sub(r"\[([^\]]+)\]\((http[^)]+)\)", r"`\1 <\2>`__", text)
        if i + 2 < len(parts):
            block = textwrap.indent(parts[i + 2], "    ")
            parts[i + 1 : i + 3] = f"{parts[i + 1]}.. code-block:: python\n\n", block
    lines[:] = "".join(parts).split("\n")


def result_pages(app):
    """Copies of the generated pages of `reproductions/results`, with links that hold here."""
    source, target = Path(ROOT, "reproductions/results"), Path(app.srcdir, "results")
    target.mkdir(exist_ok=True)
    index = (source / "README.md").read_text(encoding="utf-8")
    index = re.sub(r"\]\((\w+)/README\.md\)", r"](results/\1.md)", index)
    pages = {"README.md": index}
    for path in source.glob("*/README.md"):
        folder = f"../../reproductions/results/{path.parent.name}/"
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"\]\(\.\./(\w+)/README\.md\)", r"](\1.md)", text)
        pages[f"{path.parent.name}.md"] = re.sub(r"(!\[[^\]]*\]\()", rf"\1{folder}", text)
    for name, text in pages.items():
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in target.glob("*.md"):
        if path.name not in pages:
            path.unlink()


def setup(app):
    app.connect("builder-inited", result_pages)
    app.connect("autodoc-process-signature", constructor_signature)
    app.connect("autodoc-process-docstring", markdown_to_rst)
