"""Sphinx configuration: `make docs` builds with warnings as errors."""

import inspect
import re
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hyperkeras  # noqa: E402

project = "hyperkeras"
author = "The hyperkeras authors"
copyright = author
version = release = hyperkeras.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
napoleon_custom_sections = [("Call arguments", "params_style"), "Input shape", "Output shape"]

html_theme = "furo"
html_title = f"hyperkeras {release}"


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


def setup(app):
    app.connect("autodoc-process-signature", constructor_signature)
    app.connect("autodoc-process-docstring", markdown_to_rst)
