"""The task `text`: readers, batches, bits a character, parameters, drawn text, records."""

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.data import characters
from reproductions.data.data_dir import DataError
from reproductions.tasks import text
from reproductions.tasks.text import networks, plots
from tests import reference

LINES = "consumers may\nwant it <unk>\n"


def write_ptb(folder, line="the cat\n", **changed):
    folder.mkdir(exist_ok=True)
    for split in ("train", "valid", "test"):
        characters = changed.get(split) or " ".join(line.replace(" ", "_")) + " "
        with gzip.open(folder / f"ptb.char.{split}.txt.gz", "wt") as file:
            file.write(characters)


@pytest.mark.parametrize("folder", [".", "ptb"])
def test_penn_treebank_is_read_as_text(tmp_path, folder):
    write_ptb(tmp_path / folder, LINES)
    assert characters.penn_treebank(tmp_path) == dict.fromkeys(("train", "valid", "test"), LINES)


@pytest.mark.parametrize("name", ["text8", "text8.gz", "text/text8.first100.gz"])
def test_text8_is_cut_in_three(tmp_path, name):
    path, whole = tmp_path / name, "ab" * 100
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(whole.encode()) if name.endswith("gz") else whole.encode())
    splits = characters.text8(tmp_path)
    assert [len(part) for part in splits.values()] == [180, 10, 10]
    assert "".join(splits.values()) == whole


def test_tinyshakespeare_is_cut_in_three(tmp_path):
    (tmp_path / "tinyshakespeare.txt").write_text(LINES)
    assert "".join(characters.tinyshakespeare(tmp_path).values()) == LINES


def test_pythons_manual_repeats_no_paragraph():
    splits = characters.python_documentation()
    assert 200_000 < sum(map(len, splits.values())) < 1_000_000
    assert set("".join(splits.values())) <= {"\n", *map(chr, range(32, 127))}
    train, test = (
        {" ".join(paragraph.split()) for paragraph in splits[split].split("\n\n")[1:-1]}
        for split in ("train", "test")
    )
    assert test and not train & test


def test_missing_texts_are_told(tmp_path):
    for reader in (characters.penn_treebank, characters.text8, characters.tinyshakespeare):
        with pytest.raises(DataError, match="--data-dir DIR. The data `python` needs no files"):
            reader(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"no gzip", "not a readable text"),
        (gzip.compress(b"a _ b " * 99, mtime=0)[:-9], "not a readable text"),
        (gzip.compress(b"\xff\xfe", mtime=0), "not a readable text"),
        (gzip.compress(b" \n", mtime=0), "is empty"),
        (gzip.compress(b"t h e_ c a t", mtime=0), "does not hold single characters"),
        (gzip.compress(b"t h e", mtime=0), "does not hold single characters"),
    ],
    ids=["plain", "truncated", "binary", "empty", "words", "one_word"],
)
def test_corrupt_texts_are_told(tmp_path, content, message):
    write_ptb(tmp_path)
    (tmp_path / "ptb.char.valid.txt.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"ptb\.char\.valid\.txt\.gz.*{message}"):
        characters.penn_treebank(tmp_path)


# Batches


def letters(**changed):
    rng = np.random.default_rng(0)
    split = {
        name: "".join(rng.choice(list("abcd"), count))
        for name, count in (("train", 500), ("valid", 60), ("test", 47))
    }
    settings = dict(batch=4, steps=3, length=10, streams=3, warm_up=5) | changed
    return characters.Characters(split, **settings), split


def test_batches_are_sequences_and_what_comes_next():
    data, split = letters()
    assert data.vocabulary == "abcd"
    batches = list(data.train(seed=1, epoch=2))
    assert len(batches) == 3
    for x, y in batches:
        assert x.shape == y.shape == (4, 10)
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1])
        for row in np.concatenate([x[:, :1], y], axis=1):
            assert "".join(data.vocabulary[i] for i in row) in split["train"]
    again, other = list(data.train(1, 2)), list(data.train(1, 3))
    np.testing.assert_array_equal(batches, again)
    assert not np.array_equal(batches, other)


def test_a_text_shorter_than_a_sequence_is_told():
    with pytest.raises(DataError, match="longer than a sequence of 500 characters, got 500"):
        letters(length=500)


@pytest.mark.parametrize(
    "count, warm_up, length", [(3, 5, 47), (1, 0, 12), (4, 100, 30), (7, 2, 9)]
)
def test_streams_ask_for_each_character_once(count, warm_up, length):
    whole = np.arange(length)
    x, y = characters.streams(whole, count, warm_up)
    assert x.shape == y.shape and len(x) == count
    asked = y[y >= 0]
    np.testing.assert_array_equal(np.sort(asked), whole[1:])
    np.testing.assert_array_equal(x[y >= 0], asked - 1)
    rows, columns = np.nonzero(y >= 0)
    assert ((columns >= warm_up) | (x[rows, 0] == 0)).all()  # enough read, or all there is


# Networks


def small_network(model="hyper_lstm", size=4, seed=0):
    import keras

    keras.utils.set_random_seed(seed)
    recurrent = networks.recurrent_layer(model, 6, hyper_units=3, embedding_dim=2)
    network = networks.CharacterNetwork(recurrent, size)
    rng = np.random.default_rng(seed)
    for weight in network.trainable_weights:
        weight.assign(weight + 0.5 * rng.normal(size=weight.shape))
    return network


def reference_bits(network, x, y):
    """By the reference's equations, the text at once."""
    outputs = reference.recurrent_output(network.recurrent, np.eye(network.size)[x])
    kernel, bias = (np.asarray(weight, "float64") for weight in network.scores.weights)
    scores = outputs @ kernel + bias
    probabilities = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    rows, columns = np.nonzero(y >= 0)
    return -np.log2(probabilities[rows, columns, y[rows, columns]]).mean()


@pytest.mark.parametrize("model", ["layer_norm_lstm", "layer_norm_hyper_lstm"])
def test_bits_a_character_with_states_carried_on(model):
    data, _ = letters()
    network, (x, y) = small_network(model), data.test
    expected = reference_bits(network, x, y)
    for chunk in (7, 100):
        found = networks.bits_per_character(network, x, y, chunk)
        assert found == pytest.approx(expected, rel=1e-5)
    lost = networks.bits_per_character(network, x.reshape(-1, 1), y.reshape(-1, 1), 1)
    assert lost != pytest.approx(expected, rel=1e-3)


def test_the_training_loss_is_that_of_the_same_scores():
    network = small_network("hyper_rnn")
    x = np.random.default_rng(1).integers(0, 4, (2, 5))
    scores, _ = network.step(x, network.start(2))
    np.testing.assert_allclose(network(x), scores, rtol=1e-5, atol=1e-6)


SIZE = SimpleNamespace(vocabulary="c" * 50)


def parameters(model, preset="full", vocabulary=SIZE.vocabulary):
    (config,) = text.TASK.settings(model, preset, text.PRESETS[preset]["data"])
    return text.build(model, config, SimpleNamespace(vocabulary=vocabulary)).count_params()


@pytest.mark.parametrize(
    "model, count",
    [
        ("lstm_1000", 4_254_050),
        ("layer_norm_lstm_1000", 4_264_050),
        ("hyper_lstm_1000", 4_911_874),
        ("layer_norm_hyper_lstm_1000", 4_923_154),
    ],
)
def test_parameters_of_the_paper(model, count):
    assert parameters(model) == count


@pytest.mark.parametrize("preset, size", [("quick", 94), ("full", 50)])
def test_models_have_equal_parameters(preset, size):
    counts = [parameters(model, preset, "c" * size) for model in text.MODELS[:5]]
    assert max(counts) <= 1.01 * min(counts)


# Drawn text


def test_drawn_text_follows_its_seed():
    network = small_network()
    drawn = [networks.generate(network, "abcd", "ab", 40, seed=seed) for seed in (3, 3, 4)]
    assert len(drawn[0]) == 40 and set(drawn[0]) <= set("abcd")
    assert drawn[0] == drawn[1] != drawn[2]


def test_cold_text_is_the_likeliest():
    network = small_network()
    found = networks.generate(network, "abcd", "ab", 12, temperature=1e-6)
    whole = "ab" + found
    scores = np.asarray(network(np.array([["abcd".index(c) for c in whole]])))[0]
    assert found == "".join("abcd"[i] for i in scores[1:-1].argmax(-1))


def test_drawn_text_has_the_networks_probabilities():
    network = small_network()
    scores = np.asarray(network(np.array([[0]])), "float64")[0, 0] / 2.0
    expected = np.exp(scores) / np.exp(scores).sum()
    drawn = [
        networks.generate(network, "abcd", "a", 1, temperature=2.0, seed=seed)
        for seed in range(200)
    ]
    found = [drawn.count(character) / 200 for character in "abcd"]
    np.testing.assert_allclose(found, expected, atol=0.12)


def test_changes_of_weights_belong_to_the_drawn_characters():
    network = small_network()
    drawn, changes = networks.generate(network, "abcd", "abc", 9, return_weight_changes=True)
    assert changes.shape == (9, 4)
    read = np.eye(4, dtype="float32")[["abcd".index(c) for c in "abc" + drawn[:-1]]][None]
    config = network.recurrent.get_config() | dict(return_weight_changes=True)
    layer = type(network.recurrent).from_config(config)
    layer.build(read.shape)
    layer.set_weights(network.recurrent.get_weights())
    expected = np.asarray(layer(read)[-1])[0, 2:]
    np.testing.assert_allclose(changes, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "changed, message",
    [
        (dict(prompt=""), "`prompt` to have one character or more"),
        (dict(prompt="aXbY"), "unknown are 'XY'"),
        (dict(length=0), "`length` to be a positive integer"),
        (dict(temperature=0.0), "`temperature` to be a positive number. Received: temperature=0.0"),
        (dict(temperature=-1.0), "Received: temperature=-1.0"),
        (dict(temperature=np.nan), "Received: temperature=nan"),
        (dict(vocabulary="abc"), "the network's 4 characters. Received: 3"),
        (dict(return_weight_changes=True), "a HyperLSTM .*Received: HyperRNN"),
    ],
)
def test_bad_arguments_of_generate(changed, message):
    arguments = dict(vocabulary="abcd", prompt="ab", length=3) | changed
    with pytest.raises(ValueError, match=message):
        networks.generate(small_network("hyper_rnn"), **arguments)


def test_the_picture_takes_any_text(tmp_path):
    drawn = "a$b$\n\n" + "x" * 200
    changes = np.random.default_rng(0).uniform(size=(len(drawn), 4))
    for i, values in enumerate((changes, np.zeros_like(changes))):
        path = tmp_path / f"{i}.png"
        plots.weight_changes(drawn, values, path)
        assert path.read_bytes().startswith(b"\x89PNG")


def test_smoke_leaves_records_and_pictures(tmp_path):
    models = ["lstm", "layer_norm_hyper_lstm"]
    arguments = ["run", "text", "--preset", "smoke", "--models", ",".join(models)]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "text" / "smoke"
    for model in models:
        record = json.loads((folder / f"{model}-python-seed0.json").read_text())
        assert record["status"] == "finished"
        assert 3 < record["metrics"]["test"]["bpc"] < 8
        valid, epochs = record["metrics"]["valid"], record["config"]["epochs"]
        assert [len(valid[k]) for k in ("curve", "seconds", "processor_seconds")] == [epochs] * 3
        assert record["seconds"] == pytest.approx(sum(valid["seconds"]), abs=0.1)
        made = 12 * record["config"]["units"] if "hyper" in model else 0
        assert record["parameters"]["generated"] == made
    assert [path.name for path in sorted(folder.glob("*.png"))] == [
        "curves.png",
        "layer_norm_hyper_lstm-python-seed0.png",
    ]
