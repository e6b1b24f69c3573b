"""The few-shot task: its episodes, its networks, what is known of queries, and records."""

import json

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.data.alphabets import Characters
from reproductions.tasks import few_shot
from reproductions.tasks.few_shot import networks, tuning
from reproductions.tasks.few_shot.episodes import Episodes

rng = np.random.default_rng(1)
CONFIG = few_shot.BASE | dict(ways=3, shots=2, queries=2, told=2, batch=2, steps=2, side=16)
CONFIG |= dict(channels=4, valid_episodes=6, test_episodes=6)


def numbered():
    """Characters whose drawings say in their pixels who they are; an alphabet of six, one of 2."""
    splits = {}
    for number, split in enumerate(("train", "valid", "test")):
        names = np.arange(8) + 10 * number
        images = np.zeros((8, 5, 16, 16), "uint8")
        images[..., 0, :] = names[:, None, None]  # the upper edge
        images[..., 1:, :] = np.arange(5)[None, :, None, None]
        splits[split] = Characters(images, np.array([0] * 6 + [1] * 2))
    return splits


def network_of(model, **changes):
    config = CONFIG | few_shot.OWN.get(model, {}) | dict(width=8, hidden=6) | changes
    keras.utils.set_random_seed(0)
    return networks.build(model, config, 40), config


def some_episodes(e=2, n=3, k=2, q=4):
    return (
        rng.random((e, n, k, 16, 16, 1)).astype("float32"),
        rng.random((e, q, 16, 16, 1)).astype("float32"),
    )


def test_training_episodes_hold_other_drawings_of_the_supports_characters():
    episodes = Episodes(numbered(), CONFIG)
    assert episodes.characters == 32
    (supports, queries), place = next(iter(episodes.train(0, 0)))
    assert supports.shape == (2, 3, 2, 16, 16, 1) and queries.shape == (2, 6, 16, 16, 1)
    np.testing.assert_array_equal(place, [[0, 0, 1, 1, 2, 2]] * 2)
    for e in range(2):
        seen = np.concatenate([supports[e].reshape(6, -1), queries[e].reshape(6, -1)])
        assert len(np.unique(seen, axis=0)) == 12  # no drawing comes twice
        for image, p in zip(queries[e], place[e], strict=True):
            # As the support, but for the number of the drawing.
            same = [np.max(np.sort(image.ravel())), np.max(np.sort(supports[e, p, 0].ravel()))]
            assert same[0] == same[1] or max(same) <= 4 / 255


def test_batches_are_a_function_of_seed_and_epoch():
    episodes = Episodes(numbered(), CONFIG)
    sums = [next(iter(episodes.train(*p)))[0][0] for p in ((0, 0), (0, 0), (0, 1), (1, 0))]
    np.testing.assert_array_equal(sums[0], sums[1])
    assert not any(np.array_equal(sums[0], other) for other in sums[2:])


def test_characters_are_numbered_with_their_quarter_turns():
    splits = numbered()
    episodes = Episodes(splits, CONFIG | dict(target="character", ways=8))
    (supports, _), told = next(iter(episodes.train(0, 0)))
    assert told.shape == (2, 8 * 4) and told.max() < 32
    for c, image in zip(told[0, ::2], supports[0, :, 0, ..., 0], strict=False):
        upright = np.rot90(np.round(255 * image), -(c // 8))
        if c % 8 > 4:
            assert set(upright[0]) == {c % 8}


def test_fixed_episodes_are_of_any_characters_or_of_one_alphabet():
    episodes = Episodes(numbered(), CONFIG)
    fixed, _ = episodes.test
    assert set(fixed.kinds) == {"within", "any"}
    for kind, index in fixed.kinds.items():
        assert index.shape == (6, 3, 4)
        characters = index // 5
        assert (characters == characters[:, :, :1]).all()
        assert all(len(set(episode[:, 0])) == 3 for episode in characters)
        assert all(len(np.unique(row)) == 4 for row in index.reshape(-1, 4))
        if kind == "within":
            assert characters.max() < 6  # the alphabet of two is too small
    names = fixed.images[fixed.kinds["any"]][..., 0, 0]
    assert names.min() >= 20  # none of the training's


def test_scores_are_their_equations():
    s, z = rng.normal(size=(2, 3, 2, 4)), rng.normal(size=(2, 5, 4))
    means = s.mean(axis=2)

    def cosines(a, b):
        a, b = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
        return a @ np.swapaxes(b, 1, 2)

    expected = {
        "protonet": -np.square(z[:, :, None] - means[:, None]).sum(-1),
        "cosine": 10 * (cosines(z, means) - 1),
    }
    votes = np.exp(10 * cosines(z, s.reshape(2, 6, 4)))
    votes = (votes / votes.sum(-1, keepdims=True)).reshape(2, 5, 3, 2).sum(-1)
    expected["matching"] = np.log(votes)
    for model, value in expected.items():
        network, _ = network_of(model)
        found = network.tell(s.astype("float32"), z.astype("float32"))
        np.testing.assert_allclose(found, value, atol=1e-4, err_msg=model)


def test_a_generated_classifier_reads_distances_to_the_supports():
    network, _ = network_of("hypershot")
    s, z = (rng.normal(size=shape).astype("float32") for shape in ((2, 3, 2, 4), (2, 5, 4)))
    hyper = network.classifier.hyper
    means = s.mean(axis=2)
    unit = means / np.linalg.norm(means, axis=-1, keepdims=True)
    kernel = 1 - unit @ np.swapaxes(unit, 1, 2)
    seen = 1 - (z / np.linalg.norm(z, axis=-1, keepdims=True)) @ np.swapaxes(unit, 1, 2)
    w, b, v, c = (np.array(x) for x in hyper.generate(kernel.reshape(2, 9)))
    hidden = np.maximum(seen @ w + b[:, None], 0)
    np.testing.assert_allclose(network.tell(s, z), hidden @ v + c[:, None], atol=1e-4)
    assert few_shot.generated(network) == 3 * 6 + 6 + 6 * 3 + 3
    # Its scores know nothing of features but their cosines.
    np.testing.assert_allclose(network.tell(2 * s, 5 * z), network.tell(s, z), atol=1e-4)


def test_supports_are_told_in_training():
    network, _ = network_of("hypershot")
    s, z = (rng.normal(size=shape).astype("float32") for shape in ((2, 3, 2, 4), (2, 5, 4)))
    classifier = network.classifier
    classifier([s, z], training=False)
    assert not classifier.losses
    classifier([s, z], training=True)
    (loss,) = classifier.losses
    logits = np.array(classifier([s, s.mean(axis=2)], training=False))
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log(chances[:, np.arange(3), np.arange(3)]).sum(1).mean() / 5
    assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("model", ["hypershot", "hypershot_features", "matching", "maml"])
def test_a_query_is_told_without_the_others(model):
    network, _ = network_of(model)
    supports, queries = some_episodes(e=1)
    whole = np.array(network([supports, queries], training=False))
    for i in range(queries.shape[1]):
        alone = np.array(network([supports, queries[:, i : i + 1]], training=False))
        np.testing.assert_allclose(alone[:, 0], whole[:, i], atol=1e-4)


def test_maml_takes_a_step_on_each_episode_by_itself():
    network, config = network_of("maml")
    supports, queries = some_episodes()
    both = np.array(network([supports, queries]))
    alone = np.array(network([supports[1:], queries[1:]]))
    np.testing.assert_allclose(alone[0], both[1], atol=1e-3)
    # The step lowers the supports' own loss.
    each = supports.reshape(2, 6, 16, 16, 1)
    labels = np.broadcast_to(np.arange(3).repeat(2), (2, 6))
    losses = []
    for steps in (0, 1):
        network.config = config | dict(inner_steps=steps, inner_rate=0.1)
        logits = network([supports, each])
        loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        losses.append(float(np.mean(loss)))
    assert losses[1] < losses[0]


def test_second_order_is_the_derivative_through_the_step():
    """Along a direction, against differences; the first order leaves a part of it out."""
    import tensorflow as tf

    supports, queries = some_episodes(e=1)
    labels = np.array([[0, 1, 2, 0]])
    slopes, numeric = {}, {}
    for model in ("maml", "maml_first_order"):
        network, _ = network_of(model, inner_rate=0.1)

        def loss(network=network):
            logits = network([supports, queries])
            return tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            )

        weight = network.start[-2]
        direction = rng.normal(size=weight.shape).astype("float32")
        with tf.GradientTape() as tape:
            value = loss()
        slopes[model] = float(np.sum(np.array(tape.gradient(value, weight.value)) * direction))
        start, ends = weight.numpy(), []
        for sign in (1, -1):
            weight.assign(start + sign * 2e-3 * direction)
            ends.append(float(loss()))
        numeric[model] = (ends[0] - ends[1]) / 4e-3
        rng.bit_generator.state = np.random.default_rng(1).bit_generator.state
    assert slopes["maml"] == pytest.approx(numeric["maml"], rel=2e-2)
    assert abs(slopes["maml_first_order"] - numeric["maml_first_order"]) > 1e-3


def test_the_baseline_learns_all_characters_and_then_the_supports():
    network, _ = network_of("baseline_plus_plus")
    supports, queries = some_episodes()
    assert network([supports, queries]).shape == (2, 6 + 4, 40)
    centers = 3 * np.eye(4)[:3]
    s = centers[None, :, None] + 0.1 * rng.normal(size=(2, 3, 2, 4))
    z = centers[None] + 0.1 * rng.normal(size=(2, 3, 4))
    told = network.tell(s.astype("float32"), z.astype("float32")).argmax(-1)
    np.testing.assert_array_equal(told, [[0, 1, 2]] * 2)


def test_accuracy_follows_the_order_of_an_episode():
    class Nearest:
        def tell(self, supports, queries):
            return -np.abs(queries[:, :, None] - supports[:, None, :, 0])

    read = np.arange(10.0)
    index = np.array([[[1, 2], [8, 3]]])  # supports 1 and 8, queries 2 and 3
    config = dict(shots=1)
    assert few_shot.accuracies(Nearest(), read, index, config).tolist() == [0.5]
    assert few_shot.accuracies(Nearest(), read, index[:, ::-1], config).tolist() == [0.5]
    assert few_shot.interval(np.array([0.0, 1.0])) == pytest.approx(1.96 * np.sqrt(0.5 / 2))


def test_tuning_leaves_the_network_as_it_was():
    network, config = network_of("hypershot", tuning_steps=3, tuning_rate=1e-2)
    supports, queries = some_episodes(q=6)
    before = [w.numpy() for w in network.weights]
    gain = tuning.gain(network, (supports, queries), config)
    assert -1 <= gain <= 1
    for old, now in zip(before, network.weights, strict=True):
        np.testing.assert_array_equal(old, now.numpy())


def test_a_run_leaves_records(tmp_path):
    assert main(["run", "few_shot", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    found = [json.loads(p.read_text()) for p in (tmp_path / "few_shot/smoke").glob("*.json")]
    records = {record["model"]: record for record in found}
    assert set(records) == {"hypershot", "cosine"}
    for record in found:
        assert record["status"] == "finished"
        test = record["metrics"]["test"]
        assert 0 <= test["within_alphabet"] <= 1 and test["order_spread"] >= 0
    assert records["cosine"]["metrics"]["test"]["order_spread"] == pytest.approx(0, abs=1e-9)
    assert records["cosine"]["metrics"]["test"]["tuning_gain"] is None
    assert records["hypershot"]["metrics"]["test"]["tuning_gain"] is not None
    assert records["hypershot"]["parameters"]["generated"] == 5 * 128 + 128 + 128 * 5 + 5
