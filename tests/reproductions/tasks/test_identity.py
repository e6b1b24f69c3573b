"""The identity task: what counts as solved, and its records and pictures."""

import json

import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import identity


def network(model, values=None):
    [config] = [
        c
        for c in identity.configurations(model, "smoke", "normal")
        if values in (None, c.get("values"))
    ]
    config["shared"] = config.get("shared", False)
    return identity.build(model, config, None), config


def place(layer, cells, values=None):
    """Puts the tuples of a free source on `cells` [n, 2]."""
    means = np.clip(np.array(cells) / 3, 1e-4, 1 - 1e-4)
    layer.source.means.assign(np.log(means / (1 - means)))
    if values is not None:
        layer.source.values.assign(values)


DIAGONAL = [(0, 0), (1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    "cells, values, solved",
    [
        (DIAGONAL, None, 1),
        (DIAGONAL[::-1], None, 1),
        ([(0, 0), (1, 1), (2, 2), (2, 3)], None, 0),
        ([(0, 0), (1, 1), (2, 2), (2, 2)], None, 0),  # a cell twice, another not at all
        (DIAGONAL, [1, 1, 1, 1], 1),
        (DIAGONAL, [1, 1, 1, 1.1], 0),
    ],
)
def test_solved_means_the_whole_diagonal_and_no_error(cells, values, solved):
    model = "sparse_fixed" if values is None else "sparse_free"
    trained, config = network(model)
    place(trained.get_layer("matrix"), cells, values)
    x, y = identity.data("normal", config, None).test
    found = identity.evaluate(trained, x, y, config)
    assert found["solved"] == solved and identity.stop(found) == bool(solved)
    assert (found["mse"] <= identity.TOLERANCE) == bool(solved)


def test_batches_are_a_function_of_seed_and_epoch():
    _, config = network("dense")
    vectors = identity.data("normal", config, None)

    def first(*position):
        return next(vectors.train(*position))[0]

    np.testing.assert_array_equal(first(0, 1), first(0, 1))
    assert len({first(*p).sum() for p in ((0, 0), (0, 1), (1, 0))}) == 3
    valid, test = (set(map(tuple, split[0])) for split in (vectors.valid, vectors.test))
    assert len(valid) == len(test) == config["fresh"] and not valid & test


def test_a_run_leaves_records_and_pictures(tmp_path):
    words = ["run", "identity", "--preset", "smoke", "--out", str(tmp_path)]
    assert main([*words, "--models", "sparse_adaptive,sparse_fixed"]) == 0
    folder = tmp_path / "identity" / "smoke"
    records = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    found = {(r["model"], r["config"]["values"]): r["parameters"]["trainable"] for r in records}
    # k (c + 1) free numbers; adaptively (c + 1 or c + 2) (32 + 1) a tuple, and the network.
    assert found == {
        ("sparse_fixed", "fixed"): 4 * 3,
        ("sparse_adaptive", "fixed"): 4 * 3 * 33 + 5 * 32,
        ("sparse_adaptive", "free"): 4 * 4 * 33 + 5 * 32,
    }
    assert len(list(folder.glob("*.png"))) == 3 + 1
