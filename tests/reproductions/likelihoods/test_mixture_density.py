"""The mixture density of pen offsets: its values, gradients, extremes, and samples."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from reproductions.likelihoods import mixture_density

K = 3


def case(seed=0, lead=(5,), scale=1.0):
    """Raw parameters, offsets and pens."""
    rng = np.random.default_rng(seed)
    raw = scale * rng.normal(size=(*lead, 6 * K + 1))
    return raw, rng.normal(size=(*lead, 2)), rng.integers(0, 2, lead).astype(float)


def expected_parameters(raw):
    """Graves's equations 17 to 22 with the two bounds, of one vector."""
    weight = np.exp(raw[:K] - raw[:K].max())
    mean, deviation = raw[K : 3 * K].reshape(2, K), raw[3 * K : 5 * K].reshape(2, K)
    sigma = 0.01 * np.exp(np.logaddexp(0, deviation - np.log(0.01)))
    return weight / weight.sum(), mean, sigma, 0.999 * np.tanh(raw[5 * K : 6 * K])


def expected_nats(raw, x, pen):
    density = 0.0
    for pi, (m1, m2), (s1, s2), rho in zip(
        *((p if p.ndim == 1 else p.T) for p in expected_parameters(raw)), strict=True
    ):
        covariance = [[s1 * s1, rho * s1 * s2], [rho * s1 * s2, s2 * s2]]
        density += pi * stats.multivariate_normal.pdf(x, [m1, m2], covariance)
    e = 1 / (1 + np.exp(-raw[-1]))
    return -np.log(density) - np.log(e if pen else 1 - e)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 1e-4)])
def test_values_are_those_of_scipy(dtype, tolerance):
    raw, x, pen = case(lead=(20,))
    found = mixture_density.step_nats(*(a.astype(dtype) for a in (raw, x, pen)))
    expected = [expected_nats(*one) for one in zip(raw, x, pen, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_gradients_are_those_of_finite_differences():
    raw, x, pen = (tf.constant(a) for a in case(seed=1, lead=(4,)))
    with tf.GradientTape() as tape:
        tape.watch([raw, x])
        loss = tf.reduce_sum(mixture_density.step_nats(raw, x, pen))
    for at, gradient in zip((raw, x), tape.gradient(loss, (raw, x)), strict=True):
        for i in np.ndindex(*at.shape):
            step = np.zeros(at.shape)
            step[i] = 1e-5
            ends = [
                np.sum(
                    mixture_density.step_nats(
                        raw + (sign * step if at is raw else 0),
                        x + (sign * step if at is x else 0),
                        pen,
                    )
                )
                for sign in (1, -1)
            ]
            assert gradient[i].numpy() == pytest.approx(
                (ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6
            )


@pytest.mark.parametrize("largest", [1e4, 1e12])
@pytest.mark.parametrize("compiled", [False, True])
def test_values_and_gradients_are_finite_at_extremes(largest, compiled):
    """Every combination for one component beside an ordinary one, then all at random."""
    sizes = (0.0, 1.0, 40.0, 100.0, largest)
    values = sorted({sign * size for size in sizes for sign in (1, -1)})
    rows = list(itertools.product((-largest, largest), repeat=7))
    raw = np.zeros((len(rows), 13))
    raw[:, [0, 2, 4, 6, 8, 10, 12]] = rows
    rng = np.random.default_rng(0)
    raw = tf.constant(np.concatenate([raw, rng.choice(values, (2000, 13))]), "float32")
    pen = tf.constant(rng.integers(0, 2, len(raw)), "float32")

    @tf.function(jit_compile=compiled)
    def both(offsets):
        with tf.GradientTape() as tape:
            tape.watch(raw)
            found = mixture_density.step_nats(raw, offsets, pen)
        return found, tape.gradient(found, raw)

    for corner in itertools.product((0.0, 1e3, -1e3), repeat=2):
        found, gradient = both(tf.tile([corner], [len(raw), 1]))
        assert np.isfinite(found).all() and np.isfinite(gradient).all()


def test_the_density_integrates_to_one():
    """By the trapezoid rule, with correlated and narrow components."""
    raw, _, _ = case(seed=2, lead=())
    raw[3 * K : 5 * K] = np.log([0.05, 0.3, 1.0, 0.1, 0.2, 0.7])
    raw[5 * K : 6 * K] = 2.0, -2.0, 0.5
    line = np.linspace(-8, 8, 1601)
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    total = 0.0
    for row in np.array_split(grid, 10):
        log = mixture_density.log_density(np.broadcast_to(raw, (*row.shape[:2], len(raw))), row)
        total += float(np.exp(log).sum()) * (line[1] - line[0]) ** 2
    assert total == pytest.approx(1, abs=1e-5)


def test_nats_are_sums_over_the_steps_that_count():
    raw, x, pen = case(lead=(2, 4))
    weight = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], float)
    y = np.concatenate([x, pen[..., None], weight[..., None]], axis=-1)
    steps = np.array(mixture_density.step_nats(raw, x, pen))
    expected = [steps[0, :3].sum(), steps[1, :2].sum()]
    np.testing.assert_allclose(mixture_density.nats(y, raw), expected)
    raw[0, 3], y[0, 3, :3] = 1e4, 1e3
    np.testing.assert_allclose(mixture_density.nats(y, raw), expected)


def test_samples_have_the_mixtures_moments():
    raw, _, _ = case(seed=4, lead=())
    pi, mean, sigma, rho = expected_parameters(raw)
    drawn = np.array(mixture_density.sample(np.tile(raw, (200_000, 1)), seed=0))
    center = mean @ pi
    second = np.array(
        [
            [(pi * (sigma[0] ** 2 + mean[0] ** 2)).sum(), 0],
            [
                (pi * (rho * sigma[0] * sigma[1] + mean[0] * mean[1])).sum(),
                (pi * (sigma[1] ** 2 + mean[1] ** 2)).sum(),
            ],
        ]
    )
    second[0, 1] = second[1, 0]
    np.testing.assert_allclose(drawn[:, :2].mean(0), center, atol=0.03)
    np.testing.assert_allclose(
        np.cov(drawn[:, :2].T), second - np.outer(center, center), atol=0.1, rtol=0.03
    )
    assert set(np.unique(drawn[:, 2])) == {0, 1}
    assert drawn[:, 2].mean() == pytest.approx(1 / (1 + np.exp(-raw[-1])), abs=0.01)


def test_a_low_temperature_draws_what_is_likeliest():
    raw, _, _ = case(seed=5, lead=())
    raw[-1] = -0.3
    _, mean, sigma, _ = expected_parameters(raw)
    drawn = np.array(mixture_density.sample(np.tile(raw, (500, 1)), 1e-4, seed=0))
    best = raw[:K].argmax()
    assert np.abs(drawn[:, :2] - mean[:, best]).max() < 0.05 * sigma[:, best].max()
    assert not drawn[:, 2].any()


def test_samples_are_a_function_of_their_seed():
    raw = np.tile(case(lead=())[0], (4, 1))
    first, again, other = (np.array(mixture_density.sample(raw, seed=s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    generator = keras.random.SeedGenerator(1)
    pair = [np.array(mixture_density.sample(raw, seed=generator)) for _ in range(2)]
    assert (pair[0] != pair[1]).any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"6 k \+ 1 numbers.*\(2, 12\)"):
        mixture_density.parameters(np.zeros((2, 12)))
    with pytest.raises(ValueError, match="`temperature` above 0.*temperature=0"):
        mixture_density.sample(np.zeros((2, 13)), temperature=0)
