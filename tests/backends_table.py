"""The table of `docs/backends.md`, from the outcomes that `make test-backends` leaves.

    python tests/backends_table.py FOLDER

FOLDER holds `tensorflow.xml`, `jax.xml` and `torch.xml`, as pytest's `--junitxml` writes them.
"""

import re
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

from catalogue import CASES, MODEL_CASES, TENSORFLOW_ONLY

PAGE = Path(__file__).parents[1] / "docs/backends.md"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
MARKED = re.compile(r"(<!-- backends -->\n).*?(<!-- /backends -->)", re.S)


def outcomes(path):
    """{case: [whether each of its tests passed]}, of the tests that ran."""
    suite = ElementTree.parse(path).getroot()
    found = {}
    for test in suite.iter("testcase"):
        case = re.search(r"\[(.+)\]", test.get("name"))
        own = "test_backends" in test.get("classname")  # and not the conformance tests beside them
        if case and own and test.find("skipped") is None:
            passed = test.find("failure") is None and test.find("error") is None
            found.setdefault(case[1], []).append(passed)
    return found


def table(folder):
    read = {name: outcomes(Path(folder) / f"{name}.xml") for name in BACKENDS}
    versions = [f"{BACKENDS[name]} {metadata.version(name)}" for name in BACKENDS]
    lines = [
        f"Tests passed of those run, with {', '.join(versions)} and Keras "
        f"{metadata.version('keras')}:",
        "",
        f"| | {' | '.join(BACKENDS.values())} |",
        f"|---|{'---|' * len(BACKENDS)}",
    ]
    every = [*CASES, *MODEL_CASES]
    for name in sorted({name for case in every for name in case.covers}):
        cells = []
        for backend in BACKENDS:
            mine = [case.name for case in every if name in case.covers]
            passed = [one for case in mine for one in read[backend].get(case, [])]
            reasons = {TENSORFLOW_ONLY[case] for case in mine if case in TENSORFLOW_ONLY}
            cells.append(f"{sum(passed)}/{len(passed)}" if passed else "; ".join(sorted(reasons)))
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(MARKED.sub(lambda found: found[1] + table(sys.argv[1]) + found[2], text))
