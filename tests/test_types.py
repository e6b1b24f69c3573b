"""The types of the public signatures, as a type checker reads them."""

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
