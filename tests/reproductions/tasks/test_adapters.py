"""The task `adapters`: its texts, what each learner trains, and one small run of all models."""

import json

import numpy as np
import pytest

from reproductions import __main__ as command_line
from reproductions.data import languages
from reproductions.tasks import adapters
from reproductions.tasks.adapters import Domains, learners

CONFIG = adapters.PRESETS["smoke"] | dict(width=8, length=6, text=12, steps=3, base_steps=2)


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    parts = {
        name: {split: rng.integers(at, at + 60, 90) for split in ("train", "valid", "test")}
        for at, name in enumerate("abc")
    }
    return Domains(parts, ["c"], ["b"], CONFIG["length"], 3)


# Texts


def test_a_message_is_in_one_split_and_no_text_of_it_is_trained():
    parts = languages.messages((*adapters.SEEN, *languages.HELD_OUT))
    lines = {
        name: {split: set(bytes(text).decode().split("\n")) for split, text in splits.items()}
        for name, splits in parts.items()
    }
    assert set(lines) == {*adapters.SEEN, *languages.HELD_OUT}
    assert "Wert" in bytes(parts["de"]["train"]).decode()
    for name, splits in parts.items():
        sizes = [len(splits[split]) for split in ("train", "valid", "test")]
        assert sum(sizes) >= languages.SMALLEST and 0.1 < sizes[2] / sum(sizes) < 0.3, name
    # "Basque" is one message: its translations are in one split.
    words = dict(de="Baskisch", es="Vasco", tr="Baskça", fi="baski")
    found = {
        split for name, word in words.items() for split in lines[name] if word in lines[name][split]
    }
    assert len(found) == 1


def test_repeated_texts_stay_in_the_training():
    pairs = [(f"message {i}", "one text" if i < 40 else f"text {i}") for i in range(200)]
    splits = languages._splits(pairs)
    everything = [line for lines in splits.values() for line in lines]
    assert len(everything) == len(set(everything)) == 161
    assert "one text" in splits["train"] and len(splits["test"]) > 10


def test_windows_are_the_text_and_its_next_bytes(toy):
    rng = np.random.default_rng(0)
    x, y = toy.windows(rng, ["a", "b"], 20)
    assert x.shape == y.shape == (2, 6) and np.array_equal(x[:, 1:], y[:, :-1])
    for row, name in zip(x, "ab", strict=True):
        assert bytes(row.astype("uint8")) in bytes(toy.parts[name]["train"][:20].astype("uint8"))
    x, y = toy.held("test", "a")
    assert np.array_equal(np.append(x[0], y[0, -1]), toy.parts["a"]["test"][:7])
    assert len(x) == 3 and len(np.unique(x, axis=0)) == 3


# Learners


def test_bits_are_those_of_the_scores():
    class Scores:
        def predict_on_batch(self, x):
            return np.log(np.array([[[0.5, 0.25, 0.25]]], "float32")).repeat(len(x), axis=0)

    y = np.array([[0], [1], [2]])
    assert learners.bits(Scores(), np.zeros((3, 1)), y) == pytest.approx((1 + 2 + 2) / 3)


def test_each_domain_trains_its_own_adapter(toy):
    learner = learners.OwnLoRA(CONFIG, 0, toy)  # domains b and c
    kernel, bias = learner.network.head.kernel, learner.network.head.bias
    assert [weight is kernel for weight in learner.network.trainable_weights] == [True]
    start = bias.numpy()
    x, y = toy.windows(np.random.default_rng(0), ["b"] * 4)
    before = learner.bits("test")
    plain = learners.Learner(CONFIG, 0, toy).bits("test")
    assert before == pytest.approx(plain)
    learners.prepare(learner.network, 2, 0.1, False)
    learner.network.fit((learner.conditions(None, ["b"] * 4), x), y, batch_size=2, verbose=0)
    after = learner.bits("test")
    assert abs(after["b"] - before["b"]) > 1e-4 and after["c"] == pytest.approx(before["c"])
    assert np.array_equal(bias.numpy(), start) and not kernel.numpy()[1].any()


def test_the_shared_adapter_is_all_that_is_trained(toy):
    learner = learners.SharedLoRA(CONFIG, 0, toy)
    names = {weight.name for weight in learner.network.trainable_weights}
    assert names == {"lora_kernel_a", "lora_kernel_b"}
    own = learners.OwnLoRA(CONFIG, 0, toy)
    assert own.parameters()["trainable"] == 2 * learner.parameters()["trainable"]


def test_a_new_domain_tunes_its_embedding_alone(toy):
    learner = learners.FromNumber(CONFIG, 0, toy)
    seen = {}

    def tuning(original=learner.tuning):
        seen["head"] = learner.network.head.kernel.numpy()
        seen["table"] = learner.network.body.layers[0].embeddings.numpy()
        return original()

    learner.tuning = tuning
    learner.learn()
    table = learner.network.body.layers[0].embeddings.numpy()
    assert np.array_equal(learner.network.head.kernel.numpy(), seen["head"])
    assert np.array_equal(table[:2], seen["table"][:2])
    assert np.abs(table[2] - seen["table"][2]).max() > 1e-3
    np.testing.assert_allclose(seen["table"][2], seen["table"][:2].mean(axis=0), rtol=1e-5)


# A run


def test_a_run_of_all_models_leaves_records_and_a_picture(tmp_path):
    words = ["run", "adapters", "--preset", "smoke", "--out", str(tmp_path)]
    assert command_line.main(words) == 0
    folder, found = tmp_path / "adapters" / "smoke", {}
    for model in adapters.MODELS:
        record = json.loads(next(folder.glob(f"{model}-*.json")).read_text())
        assert record["status"] == "finished"
        found[model] = record["metrics"]["test"]
        assert set(found[model]) == set(adapters.METRICS)
        domains = record["metrics"]["valid"]["domains"]
        assert found[model]["seen"] == pytest.approx(np.mean([domains[n] for n in adapters.SEEN]))
        wrong = found[model]["wrong_seen"]
        assert (wrong is None) == (model not in adapters.WRITERS)
    assert found["none"]["part_seen"] == 0 and found["own_lora"]["part_seen"] == 1
    assert 7 < found["none"]["seen"] < 9  # hardly trained
    assert (folder / "curves.png").exists()
