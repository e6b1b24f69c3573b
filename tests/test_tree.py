"""What the tree promises: imports, packaging, version, registrations, documentation."""

import ast
import collections
import configparser
import fnmatch
import importlib.util
import inspect
import re
from pathlib import Path

import keras
import pytest
from catalogue import ABSTRACT, CASES, MODEL_CASES, TENSORFLOW_ONLY

import hyperkeras

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("hyperkeras", "baselines", "reproductions")
CODE = sorted(path for part in PARTS for path in ROOT.glob(f"{part}/**/*.py"))
LIBRARY = [p for p in CODE if p.is_relative_to(ROOT / "hyperkeras")]

# What each part may import of this project besides itself. A module belongs to the longest name
# that begins its own.
HELPERS = (
    "hyperkeras.annotations",
    "hyperkeras.ops",
    "hyperkeras.initializers",
    "hyperkeras.regularizers",
    "hyperkeras.keras_internals",
    "hyperkeras.shared_serialization",
)
MAY_IMPORT = {
    "hyperkeras.annotations": (),
    "hyperkeras.ops": ("hyperkeras.annotations", "hyperkeras.keras_internals"),
    "hyperkeras.initializers": ("hyperkeras.annotations", "hyperkeras.ops"),
    "hyperkeras.regularizers": ("hyperkeras.annotations", "hyperkeras.ops"),
    "hyperkeras.keras_internals": (),
    "hyperkeras.shared_serialization": (),
    "hyperkeras.layers": HELPERS,
    "hyperkeras.models": (*HELPERS, "hyperkeras.layers"),
    "hyperkeras": (*HELPERS, "hyperkeras.layers", "hyperkeras.models"),
    "baselines": (),
    "reproductions": ("hyperkeras", "baselines"),
}
BACKENDS = ("jax", "tensorflow", "torch")


def within(name, package):
    return name == package or name.startswith(package + ".")


def part_of(name):
    return max((p for p in (*MAY_IMPORT, "tests") if within(name, p)), key=len, default=None)


def module_name(path):
    """Dotted name of the module at `path`, relative to the root."""
    parts = Path(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source, path):
    """Yields (line, dotted name, whether inside a function) for all that `source` imports."""
    package = module_name(path).split(".")
    if Path(path).name != "__init__.py":
        package = package[:-1]

    def walk(node, lazy):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield child.lineno, alias.name, lazy
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                base = [*base, *([child.module] if child.module else [])]
                for alias in child.names:
                    yield child.lineno, ".".join([*base, alias.name]), lazy
            elif isinstance(child, ast.Call) and child.args:
                called = ast.unparse(child.func)
                if called in ("importlib.import_module", "import_module", "__import__"):
                    if isinstance(child.args[0], ast.Constant):
                        yield child.lineno, child.args[0].value, lazy
            elif isinstance(child, ast.Attribute) and ast.unparse(child) == "keras.src":
                yield child.lineno, "keras.src", lazy
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from walk(child, lazy or function)

    yield from walk(ast.parse(source), False)


def faults(source, path):
    """Imports in `source`, standing at `path`, that break the tree's rules."""
    here = part_of(module_name(path))
    found = []
    for line, name, lazy in imports(source, path):
        there, top = part_of(name), name.split(".")[0]
        why = None
        if there not in (None, here) and not any(within(there, p) for p in MAY_IMPORT[here]):
            why = f"{here} may not import {there}"
        elif within(name, "keras.src"):
            why = "keras.src is private to Keras"
        elif top in BACKENDS and here == "reproductions" and not lazy:
            why = "reproductions import a backend inside functions"
        elif top in BACKENDS and here != "reproductions" and top not in Path(path).stem:
            why = f"{top} is imported only by files with {top} in their name"
        if why:
            found.append(f"{path}:{line}: imports {name}: {why}")
    return found


@pytest.mark.parametrize("path", [str(p.relative_to(ROOT)) for p in CODE])
def test_imports_go_one_way(path):
    assert faults((ROOT / path).read_text(), path) == []


@pytest.mark.parametrize(
    "path, source",
    [
        ("hyperkeras/ops/a.py", "from hyperkeras.layers import Glimpse"),
        ("hyperkeras/ops/a.py", "from hyperkeras import layers"),
        ("hyperkeras/ops/a.py", "from ..layers.glimpse import Glimpse"),
        ("hyperkeras/ops/__init__.py", "from .. import layers"),
        ("hyperkeras/ops/a.py", "def f():\n    import hyperkeras.layers"),
        ("hyperkeras/ops/a.py", "import hyperkeras"),
        ("hyperkeras/ops/a.py", "import importlib\nimportlib.import_module('hyperkeras.layers')"),
        ("hyperkeras/initializers.py", "from hyperkeras import layers"),
        ("hyperkeras/layers/a.py", "from hyperkeras.models import Hypernetwork"),
        ("hyperkeras/layers/a.py", "import reproductions.harness"),
        ("hyperkeras/layers/a.py", "from baselines import cnn"),
        ("hyperkeras/layers/a.py", "from tests import reference"),
        ("hyperkeras/layers/a.py", "import tensorflow as tf"),
        ("hyperkeras/layers/a.py", "def f():\n    from tensorflow import sparse"),
        ("hyperkeras/layers/a.py", "from keras.src import backend"),
        ("hyperkeras/layers/a.py", "from keras import src"),
        ("hyperkeras/layers/a.py", "import keras\nkeras.src.layers.Dense"),
        ("baselines/a.py", "import hyperkeras"),
        ("baselines/a.py", "from hyperkeras.ops import contract"),
        ("baselines/a.py", "import tensorflow"),
        ("baselines/a.py", "import reproductions"),
        ("reproductions/a.py", "import tensorflow as tf"),
        ("reproductions/a.py", "from keras.src import ops"),
    ],
)
def test_a_forbidden_import_is_caught(path, source):
    assert len(faults(source, path)) == 1


@pytest.mark.parametrize(
    "path, source",
    [
        ("hyperkeras/__init__.py", "from hyperkeras import layers, ops"),
        ("hyperkeras/ops/a.py", "from hyperkeras.ops.b import c"),
        ("hyperkeras/ops/contract_tensorflow.py", "import tensorflow as tf"),
        ("hyperkeras/layers/a.py", "from keras import ops\nfrom hyperkeras import ops as hops"),
        ("baselines/a.py", "import keras\nfrom baselines.b import c"),
        ("reproductions/a.py", "from baselines import b\nfrom hyperkeras import layers"),
        ("reproductions/a.py", "def f():\n    import tensorflow as tf"),
    ],
)
def test_an_allowed_import_passes(path, source):
    assert faults(source, path) == []


def test_every_library_module_has_its_place():
    for path in LIBRARY:
        name = module_name(path.relative_to(ROOT))
        assert name == "hyperkeras" or part_of(name) != "hyperkeras", f"{name} not in MAY_IMPORT"


PRIVATE = re.compile(
    r"(?<!self)(?<!cls)(?<!super\(\))\._(?!_)[a-zA-Z]\w*|getattr\(\w+, \"_[a-z]\w*"
)


@pytest.mark.parametrize("path", [str(p.relative_to(ROOT)) for p in LIBRARY])
def test_private_names_of_others_stand_in_files_named_for_it(path):
    if "internals" in Path(path).stem:
        return
    found = [
        line.strip()
        for line in (ROOT / path).read_text().splitlines()
        if PRIVATE.search(line.partition("#")[0]) and "tensorflow" not in Path(path).stem
    ]
    assert found == []


def test_no_folder_is_crowded():
    rooms = collections.Counter(path.parent for path in CODE)
    crowded = {str(room.relative_to(ROOT)): count for room, count in rooms.items() if count > 14}
    assert crowded == {}


def internal_imports(path):
    """The modules of this project that the module at `path` imports, at any place in it."""
    names = {module_name(p.relative_to(ROOT)) for p in CODE}
    found = set()
    for _, name, _ in imports(path.read_text(), path.relative_to(ROOT)):
        while name and name not in names:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"", module_name(path.relative_to(ROOT))}


def test_no_two_files_import_each_other():
    graph = {module_name(p.relative_to(ROOT)): internal_imports(p) for p in CODE}

    def lists(a, b):
        """Whether a package's `__init__` lists what its modules offer; they import past it."""
        return a.startswith("hyperkeras") and (within(a, b) or within(b, a))

    pairs = {
        tuple(sorted((a, b)))
        for a, others in graph.items()
        for b in others
        if a in graph.get(b, ()) and not lists(a, b)
    }
    assert pairs == set()


def test_random_numbers_of_a_test_depend_on_no_other_test():
    """`conftest.py` renews a file's `rng` before each test; there is no other generator."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = re.findall(r"^(\w+) = np\.random\.default_rng\([^()]*\)$", path.read_text(), re.M)
        assert set(names) <= {"rng"}, path


def test_the_engine_knows_no_task():
    for path in (ROOT / "reproductions/engine").glob("*.py"):
        assert not any(within(n, "reproductions.tasks") for n in internal_imports(path)), path


# Packaging and version


def test_only_hyperkeras_is_packaged():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options"]["packages"] == "find:"
    patterns = config["options.packages.find"]["include"].split()
    folders = {p.parent.name for p in ROOT.glob("*/*.py")} | {"hyperkeras"}
    packaged = {f for f in folders if any(fnmatch.fnmatch(f, p) for p in patterns)}
    assert packaged == {"hyperkeras"}
    for path in LIBRARY:
        assert (path.parent / "__init__.py").exists(), f"{path.parent} would not be packaged"


def test_the_version_is_the_same_everywhere():
    tree = ast.parse((ROOT / "hyperkeras/__init__.py").read_text())
    literals = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert literals == [hyperkeras.__version__]
    changelog = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert changelog[1] == citation[1] == hyperkeras.__version__


# Public names

# What one backend alone runs needs that backend.
IMPORTABLE = [p for p in LIBRARY if p.stem[-6:] != "_torch" or importlib.util.find_spec("torch")]
MODULES = [importlib.import_module(module_name(p.relative_to(ROOT))) for p in IMPORTABLE]
WITH_ALL = [m for m in MODULES if hasattr(m, "__all__")]
PUBLIC = [
    (module.__name__, name)
    for module in WITH_ALL
    if module.__name__.count(".") == 1
    for name in module.__all__
]


def is_public(module, name, value):
    """Whether `value`, found as `module.name`, is a name that the library means to offer."""
    if name.startswith("_") or inspect.ismodule(value):
        return False
    return getattr(value, "__module__", "").startswith(module.__name__)


@pytest.mark.parametrize("module", WITH_ALL, ids=lambda m: m.__name__)
def test_all_is_sorted_and_true(module):
    assert list(module.__all__) == sorted(set(module.__all__))
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []
    if hasattr(module, "__path__"):
        public = {name for name, value in vars(module).items() if is_public(module, name, value)}
        assert public <= set(module.__all__)


def test_packages_list_their_names():
    # A family's package is a room; its names are offered by the package above.
    packages = {m.__name__ for m in MODULES if hasattr(m, "__path__") and m.__name__.count(".") < 2}
    assert packages <= {m.__name__ for m in WITH_ALL}


@pytest.mark.parametrize("name", hyperkeras.layers.__all__)
def test_layers_are_registered(name):
    cls = getattr(hyperkeras.layers, name)
    assert issubclass(cls, keras.layers.Layer)
    if name in ABSTRACT:
        return  # a base to derive from: it can't run, so it is never saved
    assert keras.saving.get_registered_name(cls) == f"hyperkeras>{name}"
    assert keras.saving.get_registered_object(f"hyperkeras>{name}") is cls


def test_layers_stand_one_public_class_a_file():
    seen = set()
    for path in sorted((ROOT / "hyperkeras/layers").rglob("*.py")):
        body = ast.parse(path.read_text()).body
        classes = [n.name for n in body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
        assert len(classes) <= 1, f"{path.name} has {classes}"
        seen.update(classes)
    assert seen >= set(hyperkeras.layers.__all__)


@pytest.mark.parametrize("module, name", PUBLIC)
def test_public_names_are_documented(module, name):
    value = getattr(importlib.import_module(module), name)
    assert vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    for page in ("api", "equations"):
        text = (ROOT / f"docs/{page}.md").read_text()
        assert re.search(rf"\b{re.escape(module)}\.{name}\b", text), f"no entry in {page}.md"


# Documentation


def test_documented_names_exist():
    pages = (ROOT / "docs/api.md").read_text() + (ROOT / "docs/equations.md").read_text()
    for module, name in re.findall(r"\b(hyperkeras\.\w+)\.(\w+)", pages):
        assert hasattr(importlib.import_module(module), name), f"no {module}.{name}"


def test_tests_named_in_the_equations_exist():
    page = (ROOT / "docs/equations.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", page)
    assert len(named) == page.count("`tests/")
    for path, function in named:
        assert f"def {function}" in (ROOT / path).read_text(), f"no {path}::{function}"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
# Building the docs copies the pages of results there.
PAGES = [page for page in PAGES if not page.is_relative_to(ROOT / "docs/results")]


@pytest.mark.parametrize("path", [str(p.relative_to(ROOT)) for p in PAGES])
def test_paths_named_in_pages_exist(path):
    page = (ROOT / path).read_text()
    named = re.findall(
        r"`((?:hyperkeras|baselines|reproductions|tests|docs)/(?!_build)[\w./]+)`", page
    )
    assert [name for name in named if not (ROOT / name).exists()] == []
    linked = re.findall(r"\]\((?!http|#)([^)#]+)", page)
    # What the build copies from there.
    copied = [
        re.sub(r"^results/(\w+)\.md$", r"../reproductions/results/\1/README.md", x) for x in linked
    ]
    linked = copied if path.startswith("docs/") else linked
    assert [link for link in linked if not (ROOT / path).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("name", [*hyperkeras.layers.__all__, *hyperkeras.models.__all__])
def test_the_page_of_layers_has_a_row_for_each(name):
    page = (ROOT / "docs/layers.md").read_text()
    assert re.search(rf"^\| {{py:\w+}}`~hyperkeras\.\w+\.{name}` \|", page, re.M)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_readme_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    names = {}
    exec(example, names)
    images, labels = names["pixels"][1300:], names["labels"][1300:]
    again = keras.models.load_model("digits.keras")
    assert again.evaluate(images, labels, verbose=0)[1] > 0.8


def test_the_page_of_backends_has_a_row_for_each_case():
    found = re.search(
        r"<!-- backends -->(.*?)<!-- /backends -->", (ROOT / "docs/backends.md").read_text(), re.S
    )
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", found[1], re.M)
    every = [*CASES, *MODEL_CASES]
    assert [name for name, _ in rows] == sorted({name for case in every for name in case.covers})
    for name, cells in rows:
        for cell in cells.split(" | "):
            passed = re.fullmatch(r"(\d+)/(\d+)", cell)
            assert passed[1] == passed[2] if passed else cell in TENSORFLOW_ONLY.values(), name
    assert set(TENSORFLOW_ONLY) <= {case.name for case in every}
