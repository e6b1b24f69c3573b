"""The sparse hyperlayer's operations: values, gradients, and the published code's faults."""

import keras
import numpy as np
import pytest
import reference
import tensorflow as tf

from hyperkeras import ops
from hyperkeras.ops.sparse import contraction, duplicates, proportions, sampling
from hyperkeras.ops.sparse.duplicates import linear_keys
from hyperkeras.ops.sparse.weighted_gather import read

rng = np.random.default_rng(0)


def numeric_gradient(f, x, step=1e-6):
    """Central differences of the scalar f at the float64 array x."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[i] += sign * step
            ends.append(float(f(moved)))
        gradient[i] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def gradients(f, *arrays):
    tensors = [tf.constant(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = f(*tensors)
    return tape.gradient(y, tensors)


# Scaling


@pytest.mark.parametrize("method", ["sigmoid", "clamp"])
def test_scale_means(method):
    raw = rng.normal(size=(2, 5, 3)) * 4
    means = np.array(ops.scale_means(raw, (2, 7, 1), method))
    np.testing.assert_allclose(means, reference.scale_means(raw, (2, 7, 1), method))
    assert means.min() >= 0 and (means.max((0, 1)) <= (1, 6, 0)).all()


def test_scale_sigmas():
    raw = rng.normal(size=(2, 5)) * 4
    sigmas = ops.scale_sigmas(raw, (2, 7), min_sigma=0.1)
    np.testing.assert_allclose(sigmas, reference.scale_sigmas(raw, (2, 7), 0.1))


# Sampling


@pytest.mark.parametrize("size", [(6,), (5, 9), (2, 3, 4)])
def test_neighbors_come_first_for_each_mean(size):
    means = rng.uniform(size=(2, 4, len(size))) * (np.array(size) - 1)
    group = 2 ** len(size) + 1 + 2
    tuples = np.array(ops.sample_tuples(means, size, 1, 2, region=3, seed=0))
    assert tuples.shape == (2, 4 * group, len(size)) and tuples.dtype == "int32"
    for grouped, mu in zip(tuples.reshape(-1, group, len(size)), means.reshape(8, -1), strict=True):
        np.testing.assert_array_equal(grouped[: 2 ** len(size)], reference.neighbors(mu))


def draws(means, size, **arguments):
    """The drawn tuples alone: [means, draws, c]."""
    c = len(size)
    tuples = np.array(ops.sample_tuples(np.array(means, "float32"), size, **arguments))
    return tuples.reshape(len(means), -1, c)[:, 2**c :]


def test_global_samples_are_uniform_over_the_tensor():
    counts = np.zeros((3, 5))
    for row, column in draws([[0, 4]], (3, 5), global_samples=30000, seed=1)[0]:
        counts[row, column] += 1
    # A multinomial's standard deviation here is 43; five of them.
    assert np.abs(counts - 2000).max() < 215


@pytest.mark.parametrize(
    "packs", [[(7, 3, 11)], [(65535, 1)], [(40000,), (2, 3), (2**15, 2)], [(2**31 - 1,), (5, 1)]]
)
def test_columns_that_share_a_number_have_one_for_each_cell(packs, monkeypatch):
    highs = []

    def last_numbers(shape, low, high, dtype, seed):
        highs.append(high)
        return keras.ops.reshape(keras.ops.arange(max(0, high - 2**16), high, dtype=dtype), (-1, 1))

    monkeypatch.setattr(keras.random, "randint", last_numbers)
    size = sum(packs, ())
    numbers = sampling.draw_numbers(np.zeros((1, 1)), size, 1, 0, size, None)
    columns = sampling._columns_of(numbers, sampling._packs(1, size))
    for pack in packs:
        cells = np.prod(pack, dtype="int64")
        assert highs.pop(0) == cells
        expected = np.unravel_index(np.arange(max(0, cells - 2**16), cells), pack)
        for column in expected:
            np.testing.assert_array_equal(np.array(columns.pop(0)).ravel(), column)
    assert not highs and not columns


@pytest.mark.parametrize(
    "mean, rows, columns",
    [
        ((10, 10), range(8, 12), range(9, 12)),  # around the rounded mean
        ((0, 19), range(4), range(17, 20)),  # moved, not cut, at the border
        ((10.6, 10.4), range(9, 13), range(9, 12)),
    ],
)
def test_local_samples_fill_their_window(mean, rows, columns):
    tuples = draws([mean], (20, 20), local_samples=500, region=(4, 3), seed=2)[0]
    assert set(map(tuple, tuples)) == {(r, c) for r in rows for c in columns}


def test_a_region_larger_than_the_tensor_or_none_covers_it():
    for region in (50, None):
        tuples = draws([[1, 1]], (3, 4), local_samples=500, region=region, seed=3)[0]
        assert set(map(tuple, tuples)) == {(r, c) for r in range(3) for c in range(4)}


@pytest.mark.parametrize("size", [200_000, 10_000_000])
def test_no_sample_reaches_a_large_size_by_rounding(size):
    # Uniform floats times the range round up to the size itself now and then.
    means = np.full((2000, 1), size - 1)
    tuples = draws(means, (size,), global_samples=100, local_samples=100, region=8, seed=4)
    assert tuples.min() >= 0 and tuples.max() == size - 1
    assert tuples[:, 100:].min() == size - 8


def test_means_outside_the_tensor_still_give_tuples_inside():
    tuples = draws([[-3.0, 50.0]], (4, 6), local_samples=20, region=2, seed=5)
    assert (tuples >= 0).all() and (tuples < (4, 6)).all()


def test_seeds():
    def sample(seed):
        means = np.zeros((1, 50, 2), "float32")
        return np.array(ops.sample_tuples(means, (90, 90), 3, seed=seed))

    np.testing.assert_array_equal(sample(1), sample(1))
    assert (sample(1) != sample(2)).any()
    assert (sample(1)[..., 0] != sample(1)[..., 1]).any()  # columns are drawn apart
    generator = keras.random.SeedGenerator(1)
    assert (sample(generator) != sample(generator)).any()


# Duplicates


@pytest.mark.parametrize(
    "size", [(4,), (3, 3), (2, 2, 2, 2), (40,) * 7, (2**31 - 1,) * 5, (1, 1, 3)]
)
@pytest.mark.parametrize("i", [1, duplicates.FEW, duplicates.FEW + 1])  # compared, and sorted
def test_duplicates_equal_the_reference(size, i):
    tuples = rng.integers(0, np.minimum(size, 3), size=(2, 3, i, len(size)))
    tuples = tuples * (np.array(size) // 3 if min(size) > 3 else 1)
    mask = np.array(ops.duplicate_mask(tuples, size))
    for one, found in zip(tuples.reshape(6, i, -1), mask.reshape(6, i), strict=True):
        np.testing.assert_array_equal(found, reference.duplicate_mask(one))


def test_no_false_duplicates_at_rank_seven_and_large_dims():
    # The published hash multiplies the dims up in int64 and overflows here.
    for size in ((1000,) * 7, (2_000_000_011 // 1,) * 7):
        tuples = np.unique(rng.integers(0, size, size=(5000, 7)), axis=0)
        assert not np.any(ops.duplicate_mask(tuples, size))
        assert np.sum(ops.duplicate_mask(np.concatenate([tuples, tuples]), size)) == len(tuples)


def test_columns_are_packed_into_keys_that_do_not_overflow():
    last = np.full((1, 5), 2**31 - 2)
    assert len(linear_keys(list(last[:, :2].T), (2**31 - 1,) * 2)) == 1
    keys = linear_keys(list(last.T), (2**31 - 1,) * 5)  # beyond 2**63: further keys
    assert len(keys) == 3 and all(np.min(key) >= 0 for key in keys)


# Proportions and weights


def chunk(k=4, c=2, i=None, leading=(3,), scale=1.0):
    size = (6, 9, 4)[:c]
    means = rng.uniform(size=(*leading, k, c)) * (np.array(size) - 1)
    sigmas = scale * rng.uniform(0.2, 3, size=(*leading, k, c))
    values = rng.normal(size=(*leading, k))
    tuples = np.array(ops.sample_tuples(means, size, 2, 2, 3, seed=1))
    return tuples, means, sigmas, values, size


@pytest.mark.parametrize("c", [1, 2, 3])
def test_proportions_equal_the_reference_and_sum_to_one(c):
    tuples, means, sigmas, _, size = chunk(c=c)
    q = np.array(ops.proportions(tuples, means, sigmas, size))
    assert q.shape == (3, tuples.shape[1], 4)
    for one, t, m, s in zip(q, tuples, means, sigmas, strict=True):
        np.testing.assert_allclose(one, reference.proportions(t, m, s), atol=1e-12)
        assert not one[reference.duplicate_mask(t)].any()
    np.testing.assert_allclose(q.sum(-2), 1)


@pytest.mark.parametrize("variance", [1e-3, 1e-6, 1e-12, 0.0])
def test_small_variances_stay_finite(variance):
    # A normalizer without the largest exponent taken out underflows to 0 / 0 here.
    tuples, means, sigmas, values, size = (
        a.astype("float32") if getattr(a, "dtype", None) == "float64" else a for a in chunk()
    )
    sigmas = np.full_like(sigmas, variance)
    q = np.array(ops.proportions(tuples, means, sigmas, size))
    np.testing.assert_allclose(q.sum(-2), 1, rtol=1e-5)
    for gradient in gradients(
        lambda m, s, v: tf.reduce_sum(ops.distribute(tuples, m, s, v, size) ** 2),
        means,
        sigmas,
        values,
    ):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("block", [2**18, 64, 1])
def test_distribute_equals_proportions_times_values(block, monkeypatch):
    monkeypatch.setattr(proportions, "BLOCK", block)
    tuples, means, sigmas, values, size = chunk(leading=(2, 3))
    q = np.array(ops.proportions(tuples, means, sigmas, size))
    expected = np.einsum("...ik,...k->...i", q, values)
    for distribute in (ops.distribute, tf.function(ops.distribute)):
        weights = distribute(tuples, means, sigmas, values, size)
        np.testing.assert_allclose(weights, expected, atol=1e-12)


@pytest.mark.parametrize("block", [2**18, 64])
def test_gradients_of_distribute_equal_finite_differences(block, monkeypatch):
    monkeypatch.setattr(proportions, "BLOCK", block)
    tuples, means, sigmas, values, size = chunk(k=3, leading=(2,))
    target = rng.normal(size=tuples.shape[:-1])

    def loss(means, sigmas, values):
        return tf.reduce_sum(target * ops.distribute(tuples, means, sigmas, values, size) ** 2)

    arrays = [means, sigmas, values]
    for j, found in enumerate(gradients(loss, *arrays)):
        expected = numeric_gradient(
            lambda a, j=j: loss(*arrays[:j], a, *arrays[j + 1 :]), arrays[j]
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_distribute_takes_unknown_and_empty_batches():
    tuples, means, sigmas, values, size = chunk(leading=(5,))
    signature = [
        tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in (tuples, means, sigmas, values)
    ]
    distribute = tf.function(lambda *a: ops.distribute(*a, size), input_signature=signature)
    whole = distribute(tuples, means, sigmas, values)
    np.testing.assert_allclose(whole, ops.distribute(tuples, means, sigmas, values, size))
    one = distribute(tuples[:1], means[:1], sigmas[:1], values[:1])
    np.testing.assert_allclose(one, whole[:1])
    assert distribute(tuples[:0], means[:0], sigmas[:0], values[:0]).shape == (0, tuples.shape[1])


# Reading alone


@pytest.mark.parametrize("carried", [(), (1,), (2, 3)])
def test_read_equals_distribute_and_contract_in_chunks_of_one(carried):
    size, b, k = (6, 9), 3, 4
    means = rng.uniform(size=(b, k, 2)) * (np.array(size) - 1)
    sigmas, values = rng.uniform(0.2, 3, size=(b, k, 2)), rng.normal(size=(b, k))
    x, upstream = rng.normal(size=(b, *size, *carried)), rng.normal(size=(b, k, *carried))
    columns = [np.array(c) for c in sampling.sample_columns(means, size, 9, 9, 3, 1)]
    tuples = np.moveaxis(np.stack(columns, axis=-1), 0, 2)  # [b, k, i, c]
    rows = np.broadcast_to(np.arange(k)[:, None, None], (b, k, tuples.shape[2], 1))
    full = np.concatenate([rows, tuples], axis=-1).reshape(b, -1, 3)

    def plain(means, sigmas, values, x):
        w = ops.distribute(tuples, *(a[:, :, None] for a in (means, sigmas, values)), size)
        return ops.contract(full, tf.reshape(w, (b, -1)), x, (k,))

    arrays, results = (means, sigmas, values, x), []
    for f in (lambda *arrays: read(columns, *arrays), plain):
        loss = lambda *arrays, f=f: tf.reduce_sum(upstream * f(*arrays) ** 2)  # noqa: E731
        results.append([f(*map(tf.constant, arrays)), *gradients(loss, *arrays)])
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-10)


# Contraction

SHAPES = [  # target, input, carried
    ((4,), (5,), ()),
    ((2, 3), (3, 2, 2), ()),
    ((1,), (1,), (3,)),
    ((2,), (3, 3), (2, 2)),
]


def sparse_problem(target, inputs, carried, batch=3, shared=False, i=17):
    leading = (1 if shared else batch, i)
    columns = [rng.integers(s, size=leading) for s in (*target, *inputs)]
    x = rng.normal(size=(batch, *inputs, *carried))
    return np.stack(columns, axis=-1), rng.normal(size=leading), x


@pytest.mark.parametrize("target, inputs, carried", SHAPES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_contract_equals_the_dense_tensor(target, inputs, carried, shared, batch):
    tuples, values, x = sparse_problem(target, inputs, carried, batch, shared)
    expected = reference.contract(
        np.broadcast_to(tuples, (batch, *tuples.shape[1:])),
        np.broadcast_to(values, (batch, values.shape[1])),
        x,
        target,
    )
    np.testing.assert_allclose(ops.contract(tuples, values, x, target), expected, atol=1e-12)
    if shared:
        y = ops.contract(tuples[0], values[0], x, target)
        np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("target, inputs, carried", SHAPES)
@pytest.mark.parametrize("shared", [False, True])
def test_both_paths_give_the_same_values_and_gradients(
    target, inputs, carried, shared, monkeypatch
):
    tuples, values, x = sparse_problem(target, inputs, carried, shared=shared)
    upstream = rng.normal(size=(3, *target, *carried))

    def both(values, x):
        y = ops.contract(tuples, values, x, target)
        return tf.reduce_sum(upstream * y**2)

    sparse = [ops.contract(tuples, values, x, target), *gradients(both, values, x)]
    with monkeypatch.context() as patch:
        patch.setattr(contraction, "_sparse_matmul", contraction.generic_sparse_matmul)
        generic = [ops.contract(tuples, values, x, target), *gradients(both, values, x)]
    for a, b in zip(sparse, generic, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    for j, array in enumerate((values, x)):
        f = [lambda v: both(v, x), lambda a: both(values, a)][j]
        np.testing.assert_allclose(sparse[1 + j], numeric_gradient(f, array), atol=1e-5)


def test_xla_takes_the_generic_path_and_the_graph_tf_sparse():
    tuples, values, x = sparse_problem((4,), (5,), ())
    found = {}
    for jit in (False, True):

        @tf.function(jit_compile=jit)
        def contract(values, x):
            return ops.contract(tuples, values, x, (4,))

        graph = contract.get_concrete_function(values, x).graph
        found[jit] = {op.type for op in graph.get_operations()}
        np.testing.assert_allclose(
            contract(values, x), reference.contract(tuples, values, x, (4,)), atol=1e-12
        )
    kernel = "SparseTensorDenseMatMul"
    assert kernel in found[False] and kernel not in found[True]


def test_contract_with_a_batch_and_a_width_that_the_graph_does_not_know():
    tuples, values, x = sparse_problem((4,), (5,), (), batch=70, shared=True)
    contract = tf.function(
        lambda x: ops.contract(tuples, values, x, (4,)),
        input_signature=[tf.TensorSpec((None, 5), "float64")],
    )
    for batch in (1, 3, 70):
        np.testing.assert_allclose(
            contract(x[:batch]), ops.contract(tuples, values, x[:batch], (4,)), atol=1e-12
        )


def test_contract_adds_up_in_float32_whatever_the_input():
    tuples = np.zeros((1, 3000, 2), "int32")
    values = np.full((1, 3000), 0.01, "float32")
    for dtype in ("float16", "bfloat16"):
        y = ops.contract(tuples, values, keras.ops.ones((1, 1), dtype), (1,))
        assert y.dtype == dtype  # in half precision the sum would stall at 16 or before
        np.testing.assert_allclose(float(y[0, 0]), 30, rtol=1e-2)


# Bad input


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.scale_means(np.zeros((2, 3)), (4, 4)), r"`raw`.*\[\.\.\., 2\].*\(2, 3\)"),
        (lambda: ops.scale_means(np.zeros((2, 1)), (0,)), r"`size`.*positive.*\(0,\)"),
        (lambda: ops.scale_means(np.zeros((2, 1)), (4,), "tanh"), "`method`.*tanh"),
        (lambda: ops.scale_sigmas(np.zeros(2), (4,), -1), "`min_sigma`.*-1"),
        (lambda: ops.sample_tuples(np.zeros((2, 1)), (4,), -1), "`global_samples`.*-1"),
        (lambda: ops.sample_tuples(np.zeros((2, 1)), (4,), 0, 1.5), "`local_samples`.*1.5"),
        (lambda: ops.sample_tuples(np.zeros((2, 1)), (4,), region=(1, 2)), "`region`.*1 integers"),
        (lambda: ops.sample_tuples(np.zeros((2, 1)), (4,), region=0), "`region`.*region=0"),
        (lambda: ops.sample_tuples(np.zeros((2, 1)), (4,), 1, seed="a"), "`seed`.*'a'"),
        (lambda: ops.duplicate_mask(np.zeros((2, 1), int), (4, 4)), "`tuples`"),
        (lambda: ops.contract(np.zeros((1, 2, 2), int), np.zeros((1, 3)), np.zeros((1, 4)), (4,)),
         r"`values`.*\(1, 2, 2\).*\(1, 3\)"),
        (lambda: ops.contract(np.zeros((1, 2, 3), int), np.zeros((1, 2)), np.zeros((1, 4)), (4,)),
         r"`x`.*\(1, 4\)"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
