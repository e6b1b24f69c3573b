"""The types of the public signatures, as a type checker reads them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def mypy(*arguments, cwd=ROOT):
    """What mypy prints. It keeps what it read of the library in the checkout's own cache."""
    command = [sys.executable, "-m", "mypy", f"--cache-dir={ROOT}/.mypy_cache", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd).stdout


def test_a_misspelled_argument_and_a_wrong_type_are_caught(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from hyperkeras.layers import FreeSource\n"
        "FreeSource(num_tuples=8, sigma_scale=1, name='wiring')\n"
        "FreeSource(num_tuples='eight', sigma_scael=1)\n"
    )
    said = mypy(f"--config-file={ROOT}/pyproject.toml", str(tmp_path / "mine.py"))
    assert re.findall(r"mine\.py:(\d+): error", said) == ["3", "3"], said
    assert 'keyword argument "sigma_scael"' in said
    assert 'expected "int"' in said


def public_functions(body):
    """The public functions and methods among the statements `body`, without those inside them."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef):
            if not node.name.startswith("_") or node.name in ("__init__", "__call__"):
                yield node


def unannotated(source):
    """The public functions and methods of `source` that lack an annotation."""
    missing = []
    for node in public_functions(ast.parse(source).body):
        given = node.args
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        named = [argument for argument in named if argument is not None]
        named = [argument for argument in named if argument.arg not in ("self", "cls")]
        if node.returns is None or any(argument.annotation is None for argument in named):
            missing.append(node.name)
    return missing


def test_public_signatures_are_annotated():
    files = sorted((ROOT / "hyperkeras").rglob("*.py"))
    assert files
    missing = {str(file.relative_to(ROOT)): unannotated(file.read_text()) for file in files}
    assert {file: names for file, names in missing.items() if names} == {}


def test_a_missing_annotation_is_found():
    assert unannotated("def f(x: int): ...\ndef g(x) -> int: ...\ndef _h(x): ...") == ["f", "g"]
    assert unannotated("class A:\n    def __init__(self, *a: int, **k) -> None: ...") == [
        "__init__"
    ]
