"""The task of unseen domains: its domains, what is held out, networks, gates and records."""

import json

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.tasks import domains
from reproductions.tasks.domains import environments, gates, networks

rng = np.random.default_rng(1)
CONFIG = domains.PRESETS["smoke"] | dict(widths=[4], experts=3, dims=2, width=5, gate_width=2)
CONFIG |= dict(batch=5)


def numbered(count=120):
    """Images that say in every pixel who they are, and their labels."""
    x = np.broadcast_to(np.arange(count)[:, None, None, None] / 1000, (count, 8, 8, 1))
    return np.array(x, "float32"), (np.arange(count) % 10).astype("int32")


def rotated(held_out=75, **changes):
    return environments.RotatedDomains(*numbered(), held_out, CONFIG | changes)


def built(model, **changes):
    config = CONFIG | domains.OWN.get(model, {}) | changes
    keras.utils.set_random_seed(0)
    data = rotated()
    return networks.build(model, config, data), data, config


def who(x):
    """The numbers of images, by the middle that turning leaves."""
    return np.round(1000 * x[:, 4, 4, 0]).astype(int)


def test_no_image_is_in_two_domains_or_in_two_parts():
    data = rotated()
    parts = [data.test, *data.inside, data.valid]
    numbers = [who(x) for x, _ in parts]
    assert [len(part) for part in numbers] == [16] * 6 + [20]
    assert len(set(np.concatenate(numbers))) == 116  # the held-out domain's other 4 are for nothing
    for (_, y), number in zip(parts, numbers, strict=True):
        np.testing.assert_array_equal(y, number % 10)
    np.testing.assert_array_equal(data.valid_domains, np.arange(5).repeat(4))
    assert data.angles == [0, 15, 30, 45, 60] and rotated(0).angles == [15, 30, 45, 60, 75]


def test_domains_are_turned_counter_clockwise():
    x = np.zeros((1, 9, 9, 1), "float32")
    x[0, 4, 7] = 1  # to the right of the middle
    np.testing.assert_allclose(environments.turned(x, 90)[0, 1, 4], 1, atol=1e-6)
    half = environments.turned(x, 45)[0, ..., 0]
    assert half.sum() == pytest.approx(1, abs=0.3)
    assert np.unravel_index(half.argmax(), half.shape) == (2, 6)


def test_a_batch_has_as_many_images_of_each_domain_in_their_order():
    data = rotated()
    x, y = next(iter(data.train(0, 0)))
    assert x.shape == (25, 8, 8, 1) and len(y) == 25
    members = [set(who(part)) for part, _ in data.inside]
    assert all(number in members[i // 5] for i, number in enumerate(who(x)))
    again, other = (next(iter(data.train(*p)))[0] for p in ((0, 0), (0, 1)))
    np.testing.assert_array_equal(x, again)
    assert not np.array_equal(x, other)


def test_colors_go_along_with_labels_as_often_as_they_should():
    x, y = np.ones((9000, 2, 2, 1), "float32"), np.arange(9000) % 10
    data = environments.ColoredDomains(x, y, "-90%", CONFIG | dict(images=3000))
    for (images, label), e in zip([*data.inside, data.test], (0.1, 0.2, 0.9), strict=True):
        assert images.shape[1:] == (2, 2, 2) and images.sum(-1).max() == 1  # one channel each
        color = images[:, 0, 0].argmax(-1)
        assert np.mean(color != label) == pytest.approx(e, abs=0.03)
    assert data.classes == 2 and data.count == 2
    # A quarter of the labels are wrong: of the digits below 5 three quarters are labeled so.
    inside = np.concatenate([label for _, label in data.inside])
    assert np.mean(inside) == pytest.approx(0.5, abs=0.03)


def test_the_loss_of_coral_has_the_distance_of_means_and_covariances():
    network, data, _ = built("coral", penalty=2.0)
    plain = networks.Classifier.objective
    x, y = next(iter(data.train(0, 0)))
    z = np.array(network.features(x), "float64").reshape(5, 5, -1)
    means, covariances = z.mean(axis=1), np.stack([np.cov(part.T) for part in z])
    pairs = [(i, j) for i in range(5) for j in range(i)]
    apart = np.mean(
        [
            np.square(means[i] - means[j]).mean()
            + np.square(covariances[i] - covariances[j]).mean()
            for i, j in pairs
        ]
    )
    expected = float(plain(network, x, y, network(x))) + 2.0 * apart
    assert float(network.objective(x, y, network(x))) == pytest.approx(expected, rel=1e-4)


def test_group_dro_gives_weight_to_domains_of_high_loss():
    network, data, _ = built("groupdro", growth=0.5)
    x, y = next(iter(data.train(0, 0)))
    losses = np.array(network.losses_by_domain(y, network(x)), "float64")
    shares = np.exp(0.5 * losses) / np.exp(0.5 * losses).sum()
    assert float(network.objective(x, y, network(x))) == pytest.approx(
        float(shares @ losses), rel=1e-4
    )
    np.testing.assert_allclose(np.array(network.shares), 5 * shares, rtol=1e-4)


@pytest.mark.parametrize("model", ["moe", "hmoe"])
def test_a_mixture_mixes_the_probabilities_of_its_experts(model):
    network, *_ = built(model)
    network.temperature.assign(0.5)
    x = rng.random((6, 8, 8, 1)).astype("float32")
    z, points = np.array(network.features(x)), np.array(network.gate(x))
    kernels, biases = (np.array(part) for part in network.experts())
    assert kernels.shape == (3, 4, 10) and np.abs(kernels[0] - kernels[1]).max() > 1e-3
    scores = points @ np.array(network.vectors).T / (0.5 * np.sqrt(2))
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    p = np.exp(np.einsum("mf,kfc->mkc", z, kernels) + biases)
    mixed = np.einsum("mk,mkc->mc", shares, p / p.sum(-1, keepdims=True))
    np.testing.assert_allclose(np.exp(np.array(network(x))), mixed, rtol=1e-4)
    np.testing.assert_allclose(gates.shares(network, x), shares, rtol=1e-4)


def test_even_use_within_classes_is_rewarded():
    network, *_ = built("hmoe", sure=0.5)
    y = np.array([0, 0, 1, 1])

    def imbalance(*first):
        sure = np.log(np.clip(np.eye(3)[list(first)], 1e-6, 1).astype("float32"))
        return float(network.imbalance(sure, y))

    by_class, across = imbalance(0, 0, 1, 1), imbalance(0, 1, 0, 1)
    assert by_class == pytest.approx(0, abs=1e-3)
    assert across == pytest.approx(-np.log(2), abs=1e-3)
    unsure = float(network.imbalance(np.full((4, 3), -np.log(3), "float32"), y))
    assert unsure == pytest.approx(-0.5 * np.log(3), abs=1e-3)


def test_the_temperature_falls_to_its_last():
    network, _, config = built("hmoe", temperatures=[8.0, 0.5], epochs=5)
    found = []
    for epoch in range(5):
        domains.before_epoch(network, epoch, config)
        found.append(float(network.temperature))
    np.testing.assert_allclose(found, [8, 4, 2, 1, 0.5], rtol=1e-5)


def test_agreement_is_one_with_domains_and_none_with_classes():
    class Told:
        gate = None

        def gate_logits(self, x):
            return 9 * np.eye(5, dtype="float32")[data.valid_domains]

    data = rotated()
    found = gates.agreement(Told(), data, CONFIG | dict(experts=5))
    assert found["nmi_domain"] == pytest.approx(1) and found["ari_domain"] == pytest.approx(1)
    assert found["nmi_class"] < 0.7 and found["experts_used"] == 5


def test_a_run_leaves_records_and_pictures(tmp_path):
    assert main(["run", "domains", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    folder = tmp_path / "domains" / "smoke"
    records = {r["model"]: r for r in (json.loads(p.read_text()) for p in folder.glob("*.json"))}
    assert set(records) == {"erm", "hmoe"}
    assert all(record["status"] == "finished" for record in records.values())
    test = records["hmoe"]["metrics"]["test"]
    assert {"accuracy", "nmi_domain", "nmi_class", "ari_domain"} <= set(test)
    assert records["erm"]["metrics"]["test"]["experts_used"] is None
    assert records["hmoe"]["parameters"]["generated"] == 5 * (8 * 10 + 10)
    pictures = [path.name for path in folder.glob("hmoe*.png")]
    assert pictures == ["hmoe-held_out75-rotated_digits-seed0.png"]


def test_every_preset_names_domains_that_there_are():
    for preset in domains.PRESETS:
        for name in domains.DATA:
            for config in domains.TASK.settings("erm", preset, name):
                known = environments.COLORS if "colored" in name else environments.ANGLES
                assert config["held_out"] in known
