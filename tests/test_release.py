"""What a release holds, what it asks for, and that it works without the rest of the checkout."""

import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import hyperkeras

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("hyperkeras/**/*.py")}

# Only the unpacked wheel, and what its requirements bring: the extras cannot be imported.
SMOKE = """
import sys
sys.path.insert(0, sys.argv[1])
extras = ("reproductions", "baselines", "sklearn", "matplotlib", "networkx")
sys.modules.update(dict.fromkeys((*extras, "tensorflow_datasets")))  # None: an ImportError
import keras, numpy as np
import hyperkeras
from hyperkeras import layers
assert hyperkeras.__file__.startswith(sys.argv[1]), hyperkeras.__file__
source = layers.FreeSource(num_tuples=4)
x = np.ones((2, 4), "float32")
model = keras.Sequential([layers.SparseHyperlayer((4,), source), layers.PHMDense(2, 2)])
model.compile("sgd", "mse")
model.fit(x, x[:, :2], verbose=0)
sequence = layers.HyperLSTM(4, hyper_units=3, embedding_dim=2)(x[:, :, None])
print(hyperkeras.__version__, model(x).shape, sequence.shape)
"""


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder of both archives, built from a copy: a build leaves folders beside its source."""
    source = tmp_path_factory.mktemp("source") / "hyperkeras"
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "results")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "build", "--no-isolation", str(source)]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    info = f"hyperkeras-{hyperkeras.__version__}.dist-info/"
    assert wheel.filename.endswith(f"hyperkeras-{hyperkeras.__version__}-py3-none-any.whl")
    files = {name for name in wheel.namelist() if not name.startswith(info)}
    assert files == LIBRARY | {"hyperkeras/py.typed"}
    assert any(name.startswith(info) and name.endswith("LICENSE") for name in wheel.namelist())


def test_the_wheel_requires_three_packages(wheel):
    name = f"hyperkeras-{hyperkeras.__version__}.dist-info/METADATA"
    metadata = email.message_from_bytes(wheel.read(name))
    required = [one for one in metadata.get_all("Requires-Dist") if "extra ==" not in one]
    assert sorted(required) == ["keras>=3.14", "numpy>=1.26", "tensorflow>=2.18"]
    assert metadata["Version"] == hyperkeras.__version__
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_source_archive_can_build_the_wheel(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert LIBRARY | {"hyperkeras/py.typed", "setup.cfg", "pyproject.toml", "LICENSE"} <= names
    assert not [name for name in names if name.startswith(("reproductions", "baselines"))]


def test_the_unpacked_wheel_works_alone(wheel, tmp_path):
    wheel.extractall(tmp_path)
    command = [sys.executable, "-P", "-c", SMOKE, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [hyperkeras.__version__, "(2,", "2)", "(2,", "4)"]
