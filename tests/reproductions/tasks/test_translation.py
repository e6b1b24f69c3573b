"""The task `translation`: its network, loss, beam search, BLEU and records."""

import itertools
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.data.sentence_pairs.subwords import END, PADDING, START
from reproductions.tasks import translation
from reproductions.tasks.translation import networks
from reproductions.tasks.translation.decoding import beam_search, length_penalty
from tests import reference

rng = np.random.default_rng(1)
SIZE = 7


def small_network(model="layer_norm_hyper_lstm", size=SIZE):
    encoder, decoder = (networks.recurrent_layer(model, 5, 3, 2) for _ in range(2))
    network = networks.Translator(encoder, decoder, size, 4)
    for weight in network.trainable_weights:
        weight.assign(weight + 0.4 * rng.normal(size=weight.shape))
    return network


def pairs(rows=3, sentence=6, target=5):
    """x and y of random pieces, the first row of full length."""

    def numbers(length, last=END):
        found = rng.integers(END + 1, SIZE, (rows, length))
        for row, count in zip(found, [length, *rng.integers(2, length, rows - 1)], strict=True):
            row[count - 1], row[count:] = last, PADDING
        return found.astype("int32")

    y = numbers(target)
    before = np.where(y == END, PADDING, y)
    before = np.concatenate([np.full((rows, 1), START), before[:, :-1]], axis=1).astype("int32")
    return (numbers(sentence), before), y


# Values


def reference_scores(network, sentence, before):
    """Scores [t, size] of one pair without padding, by the equations."""

    def run(layer, rows, states):
        cell, found = layer.cell, []
        w = reference.cell_weights(cell)
        if hasattr(cell, "hyper_cell"):
            small = (reference.cell_weights(cell.hyper_cell),)
            step = reference.hyper_lstm_step
        else:
            small, step = (), reference.layer_norm_lstm_step
        for row in rows:
            states = step(row, *states, w, *small)
            found.append(states[0])
        return np.array(found), states

    def array(weight):
        return np.asarray(weight, "float64")

    embedding, encoder = array(network.embedding.embeddings), network.encoder
    zeros = [np.zeros(n) for n in network.decoder.cell.state_size]
    x = embedding[sentence]
    onward, onward_states = run(encoder.forward_layer, x, zeros)
    backward, backward_states = run(encoder.backward_layer, x[::-1], zeros)
    m = np.concatenate([onward, backward[::-1]], axis=-1)
    states = []
    for i, start in enumerate(network.starts):
        both = np.concatenate([onward_states[i], backward_states[i]])
        state = both @ array(start.kernel) + array(start.bias)
        states.append(np.tanh(state) if i % 2 == 0 else state)
    h, _ = run(network.decoder, embedding[before], states)
    alpha = np.exp(h @ (m @ array(network.keys.kernel)).T)
    alpha /= alpha.sum(-1, keepdims=True)
    combined = network.combined
    z = np.concatenate([h, alpha @ m], axis=-1) @ array(combined.kernel) + array(combined.bias)
    return np.tanh(z) @ embedding.T + array(network.bias), alpha


def reference_nats(network, x, y):
    """The mean, in float64, and padding aside."""
    found = []
    for sentence, before, behind in zip(*x, y, strict=True):
        behind = behind[behind > 0]
        logits, _ = reference_scores(network, sentence[sentence > 0], before[: len(behind)])
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        found += [-logs[t, piece] for t, piece in enumerate(behind)]
    return np.mean(found)


@pytest.mark.parametrize("model", ["lstm", "layer_norm_hyper_lstm"])
def test_scores_are_those_of_the_equations_whatever_padding_is_behind(model):
    network = small_network(model)
    x, y = pairs()
    found = np.asarray(network(x))
    for i, (sentence, before) in enumerate(zip(*x, strict=True)):
        sentence, count = sentence[sentence > 0], (y[i] > 0).sum()
        expected, alpha = reference_scores(network, sentence, before[:count])
        np.testing.assert_allclose(found[i, :count], expected, rtol=1e-4, atol=1e-5)
        weights = networks.attention_weights(network, sentence, before[:count], 2, (8,))
        np.testing.assert_allclose(weights, alpha, atol=1e-5)


def test_padding_changes_no_loss():
    network, (x, y) = small_network("lstm"), pairs()
    expected = reference_nats(network, x, y)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    for more in (0, 3):
        wide = [np.pad(numbers, [(0, 0), (0, more)]) for numbers in (*x, y)]
        assert float(loss(wide[2], network(wide[:2]))) == pytest.approx(expected, rel=1e-5)
        for batch in (2, 3):
            found = networks.nats_a_piece(network, wide[:2], wide[2], batch, (4, 8, 16))
            assert found == pytest.approx(expected, rel=1e-5)


def test_the_task_trains_by_that_loss():
    config = translation.TASK.settings("lstm", "smoke", "made")[0] | dict(units=5, dim=4)
    data = SimpleNamespace(subwords=SimpleNamespace(size=SIZE))
    network, (x, y) = translation.build("lstm", config, data), pairs()
    expected = reference_nats(network, x, y)
    assert network.train_on_batch(x, y) == pytest.approx(expected, rel=1e-5)
    assert translation.evaluate(network, x, y, config)["nats"] < expected


def test_rows_of_like_length_are_read_together_and_none_is_left_out():
    sizes = np.array([5, 1, 9, 2, 3])
    found = list(networks.chunks(sizes, 2, (4, 8)))
    assert [(rows[:count].tolist(), length) for rows, count, length in found] == [
        ([1, 3], 4),
        ([4, 0], 8),
        ([2], 16),
    ]
    assert all(len(rows) == 2 for rows, _, _ in found)


def test_saved_and_loaded(tmp_path):
    network, (x, _) = small_network(), pairs()
    network.save(tmp_path / "translator.keras")
    loaded = keras.saving.load_model(tmp_path / "translator.keras")
    np.testing.assert_allclose(loaded(x), network(x), rtol=1e-6)


@pytest.mark.parametrize("preset, size", [("quick", 500), ("full", 4000)])
def test_models_have_equal_parameters(preset, size):
    data, whole, recurrent = SimpleNamespace(subwords=SimpleNamespace(size=size)), [], []
    for model in translation.MODELS:
        (config,) = translation.TASK.settings(model, preset, "made")
        network = translation.build(model, config, data)
        whole.append(network.count_params())
        recurrent.append(network.encoder.count_params() + network.decoder.count_params())
        made = 3 * 12 * config["units"] if "hyper" in model else 0  # d and β of three layers
        assert translation.generated(network) == made
    assert max(whole) < 1.05 * min(whole), whole
    assert max(recurrent) < 1.06 * min(recurrent), recurrent


# Beam search


class Chain:
    """Log-probabilities that depend on all tokens so far; a state is the number of a beginning."""

    def __init__(self, tokens, depth, samples=1):
        count = sum(tokens**t for t in range(depth))
        self.tokens = tokens
        logits = rng.normal(size=(samples, count, tokens), scale=2)
        self.logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    def step(self, tokens, states, beam):
        (place,) = states
        place = np.where(tokens < 0, 0, place * self.tokens + 1 + tokens)
        logs = np.take_along_axis(self.logs, place[..., None], axis=1)
        order = np.argsort(-logs, axis=-1)[..., : 2 * beam]
        best = np.take_along_axis(logs, order, axis=-1)
        return best, order, logs[..., 0], [place]

    def search(self, limits, beam, alpha):
        states = [np.zeros((len(limits), beam), "int64")]
        return beam_search(
            lambda tokens, states: self.step(tokens, states, beam),
            states,
            np.array(limits),
            beam,
            start=-1,
            end=0,
            alpha=alpha,
        )

    def log_probability(self, sample, sequence):
        place, total = 0, 0.0
        for token in [*sequence, 0]:
            total += self.logs[sample, place, token]
            place = place * self.tokens + 1 + token
        return total


def every_sequence(tokens, longest):
    return [
        list(sequence)
        for length in range(longest)
        for sequence in itertools.product(tokens, repeat=length)
    ]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_beam_as_wide_as_all_sequences_finds_the_best_of_them(alpha):
    limits, chain = [4, 2, 1, 4], Chain(tokens=4, depth=4, samples=4)
    found, scores = chain.search(limits, 90, alpha)
    for sample, limit in enumerate(limits):
        every = {
            tuple(sequence): chain.log_probability(sample, sequence)
            / length_penalty(len(sequence) + 1, alpha)
            for sequence in every_sequence([1, 2, 3], limit)
        }
        best = max(every, key=every.get)
        assert tuple(found[sample]) == best
        assert scores[sample] == pytest.approx(every[best])


def test_a_beam_of_one_is_greedy():
    chain = Chain(tokens=4, depth=5, samples=6)
    found, scores = chain.search([5] * 6, 1, 0.6)
    for sample in range(6):
        place, greedy = 0, []
        while len(greedy) < 4 and (token := int(chain.logs[sample, place].argmax())):
            greedy.append(token)
            place = place * 4 + 1 + token
        assert found[sample] == greedy
        expected = chain.log_probability(sample, greedy) / length_penalty(len(greedy) + 1, 0.6)
        assert scores[sample] == pytest.approx(expected)


def test_wider_beams_find_better_sequences_and_samples_do_not_mix():
    chain = Chain(tokens=5, depth=6, samples=40)
    means = [chain.search([6] * 40, beam, 0.6)[1].mean() for beam in (1, 3, 8, 40)]
    assert means == sorted(means) and means[0] < means[-1]
    together, _ = chain.search([6] * 40, 3, 0.6)
    for sample in (0, 17):
        alone = Chain(5, 1)
        alone.logs = chain.logs[sample : sample + 1]
        assert alone.search([6], 3, 0.6)[0] == together[sample : sample + 1]


# Translations


def scores_of(network, sentence, made, alpha=0.6):
    """A translation's score, from the network as it is trained."""
    before, behind = np.array([[START, *made]]), [*made, END]
    logits = np.asarray(network([sentence[None], before]), "float64")[0]
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return logs[np.arange(len(behind)), behind].sum() / length_penalty(len(behind), alpha)


def test_the_best_translation_of_a_tiny_network_is_found_among_all():
    network, ((sentences, _), _) = small_network(), pairs()
    (found, scores) = networks.translate(network, sentences, (8,), beam=100, longest=4)
    every = every_sequence(range(END + 1, SIZE), 4)
    for row, sentence in enumerate(sentences):
        # All of them at once: what is behind a translation's end changes nothing before it.
        before = np.array([([START, *made] + [0] * 3)[:4] for made in every])
        given = np.repeat(sentence[None], len(every), axis=0)
        logits = np.asarray(network([given, before]), "float64")
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        values = [
            sum(logs[i, t, piece] for t, piece in enumerate([*made, END]))
            / length_penalty(len(made) + 1, 0.6)
            for i, made in enumerate(every)
        ]
        best = int(np.argmax(values))
        assert found[row] == every[best]
        assert scores[row] == pytest.approx(values[best], rel=1e-4)


def test_beams_beat_greedy_translations_and_have_the_scores_they_say():
    network, ((sentences, _), _) = small_network("lstm"), pairs(rows=12, sentence=8)
    means = {}
    for beam in (1, 5):
        found, scores = networks.translate(network, sentences, (4, 8), beam, batch=5)
        for row in (0, 3, 11):
            sentence = sentences[row][sentences[row] > 0]
            assert len(found[row]) < 1.5 * len(sentence) + 10
            assert scores[row] == pytest.approx(scores_of(network, sentence, found[row]), rel=1e-4)
        means[beam] = scores.mean()
    assert means[5] >= means[1]


def test_the_references_have_a_bleu_of_100_with_a_signature():
    texts = ["A man in an orange hat.", "Two dogs run, and a third one sleeps."]
    score, signature = translation.bleu(texts, texts)
    assert score == pytest.approx(100)
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert translation.bleu(texts[::-1], texts)[0] < 10


def test_smoke_leaves_a_record_and_a_picture(tmp_path):
    words = ["run", "translation", "--preset", "smoke", "--models", "lstm"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "translation" / "smoke"
    record = json.loads((folder / "lstm-made-seed0.json").read_text())
    assert record["status"] == "finished"
    found = record["metrics"]["test"]
    assert 3 < found["nats"] < 7
    assert all(0 <= found[name] <= 100 for name in ("bleu", "bleu_greedy", "bleu_other"))
    assert "|tok:13a|" in found["signature"]
    assert (folder / "lstm-made-seed0.png").read_bytes().startswith(b"\x89PNG")
