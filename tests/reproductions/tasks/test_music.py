"""The task `music`: tunes, readers, index tuples, likelihoods, models, measures, records."""

import io
import json
import tarfile

import keras
import mido
import numpy as np
import pytest
from scipy.stats import norm

from reproductions.__main__ import main
from reproductions.data import midi_ld, tunes
from reproductions.data.data_dir import DataError
from reproductions.likelihoods import diagonal_gaussian, discretized_gaussian
from reproductions.tasks import music
from reproductions.tasks.music import language_models, metrics, models
from reproductions.tasks.music.dense_vae import DenseVAE
from reproductions.tasks.music.ngram import NGram
from reproductions.tasks.music.sparse_vae import SparseVAE

SPLITS = dict(train=60, valid=10, test=10)
SIZES = dict(most=22, batch=4, steps=2, hidden=16, embedding=8, latent=4, free_nats=0.1)
CONFIG = SPLITS | SIZES | dict(dropout=0.0)


@pytest.fixture(scope="module")
def phrases():
    return tunes.Phrases(tunes.generated(SPLITS), CONFIG)


# Tunes


def test_generated_tunes_keep_their_rules():
    splits = tunes.generated(SPLITS)
    assert {split: len(found) for split, found in splits.items()} == SPLITS
    whole = [notes for found in splits.values() for notes in found]
    assert len({notes.tobytes() for notes in whole}) == len(whole)
    for notes in whole:
        at, pitch, duration, velocity = notes.T
        assert (at[1:] == (at + duration)[:-1]).all() and at[0] == 0 and (duration > 0).all()
        bar = (at[-1] + duration[-1]) // 4
        assert bar in (12, 16) and np.isin(np.arange(4) * bar, at).all()
        assert ((velocity == tunes.DOWNBEAT) == (at % bar == 0)).all()
        motif, again = (duration[at // bar == k] for k in (0, 2))
        assert motif.tolist() == again.tolist()
        intervals = {(p - pitch[-1]) % 12 for p in pitch.tolist()}
        assert intervals <= set(tunes.MODES["major"]) or intervals <= set(tunes.MODES["dorian"])
        assert tunes.broken_rules(notes) == set()


@pytest.mark.parametrize(
    "change, rule",
    [
        (lambda n: n[:1], "length"),
        (lambda n: n + np.array([1, 0, 0, 0]), "one voice without gaps"),
        (lambda n: n * [1, 1, 1, 0], "accents"),
        (lambda n: n[:-1], "four bars"),
        (lambda n: n + np.eye(len(n), 4, -1).astype(int) * 1, "the scale of the last note"),
    ],
)
def test_a_broken_rule_is_named(change, rule):
    notes = tunes.tune(np.random.default_rng(0))
    if "scale" in rule:  # a note between two of the scale
        notes[1, 1] = notes[-1, 1] + 1
        change = np.array
    assert rule in tunes.broken_rules(change(notes))


def write_tunes(folder, count=10, signature=(4, 4), shift=0, cut=None):
    """An archive as Nottingham's: tunes of 8 bars, a quarter note each beat."""
    with tarfile.open(folder / "nottingham-test.tar.gz", "w:gz") as file:
        for number in range(count):
            midi = mido.MidiFile(type=1, ticks_per_beat=1024)
            track = midi.add_track()
            numerator, denominator = signature
            track.append(
                mido.MetaMessage("time_signature", numerator=numerator, denominator=denominator)
            )
            for beat in range(8 * signature[0]):
                pitch = 60 + (beat + number) % 12
                track.append(
                    mido.Message("note_on", note=pitch, velocity=90, time=shift if not beat else 0)
                )
                track.append(mido.Message("note_off", note=pitch, time=1024))
            content = midi_ld.midi_bytes(midi)[:cut]
            info = tarfile.TarInfo(f"MIDI/melody/a{number}.mid")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def test_nottingham_is_cut_into_phrases(tmp_path):
    write_tunes(tmp_path)
    splits = tunes.nottingham(tmp_path)
    assert [len(found) for found in splits.values()] == [16, 2, 2]
    for found in splits.values():
        for notes in found:
            np.testing.assert_array_equal(notes[:, 0], np.arange(16) * 4)
            np.testing.assert_array_equal(notes[:, 2:], np.full((16, 2), (4, 90)))
    write_tunes(tmp_path, signature=(3, 4))
    assert {len(notes) for notes in tunes.nottingham(tmp_path)["train"]} == {12}
    write_tunes(tmp_path, shift=100)  # off the grid
    assert tunes.nottingham(tmp_path)["train"] == []


def test_chorales_are_voices_as_notes(tmp_path):
    frames = [[72, 67, 64, 48]] * 4 + [[72, 67, 62, -1]] * 4
    content = {split: [frames] for split in ("train", "valid", "test")}
    path = tmp_path / "Jsb16thSeparated.json"
    path.write_text(json.dumps(content))
    (notes,) = tunes.chorales(tmp_path)["test"]
    expected = [[0, 48, 4], [0, 64, 4], [0, 67, 8], [0, 72, 8], [4, 62, 4]]
    assert notes[:, :3].tolist() == expected
    for broken in ("{}", "no json", json.dumps(content | {"test": [[[1, 2]]]})):
        path.write_text(broken)
        with pytest.raises(DataError, match="not a readable set of chorales"):
            tunes.chorales(tmp_path)


def test_unusable_data_are_told(tmp_path):
    for reader in (tunes.nottingham, tunes.chorales):
        with pytest.raises(DataError, match="--data-dir DIR. The data `generated` needs no files"):
            reader(tmp_path)
    path = tmp_path / "nottingham-test.tar.gz"
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a readable archive of tunes"):
        tunes.nottingham(tmp_path)
    write_tunes(tmp_path, cut=-9)
    with pytest.raises(DataError, match="not a readable archive of tunes.*MIDI"):
        tunes.nottingham(tmp_path)
    write_tunes(tmp_path, count=3)
    with pytest.raises(DataError, match="Expected ten or more"):
        tunes.nottingham(tmp_path)
    with pytest.raises(DataError, match="Expected pieces of at most 2 notes in train, got 0"):
        tunes.Phrases(tunes.generated(SPLITS), CONFIG | dict(most=2))


# Pieces as index tuples, graphs and files


def test_pieces_to_train_with_are_transposed_to_pitches_that_there_are():
    still = tunes.Phrases(tunes.generated(SPLITS), CONFIG)
    pieces = tunes.Phrases(tunes.generated(SPLITS), CONFIG | dict(transpose=3))
    ((x, y), *_), ((x0, y0), *_) = list(pieces.train(0, 0)), list(still.train(0, 0))
    np.testing.assert_array_equal(y, y0)
    pitch = x[..., 1] == 1
    np.testing.assert_array_equal(x[~pitch], x0[~pitch])
    steps = [np.unique(row[at]) for row, at in zip(x[..., 2] - x0[..., 2], pitch, strict=True)]
    assert {len(one) for one in steps} == {1} and len(np.unique(steps)) > 2
    assert np.abs(steps).max() <= 3
    whole, _ = still.whole_train
    heard = whole[whole[..., 1] == 1][:, 2]
    every = pieces.moved_train
    notes = every[every[..., 1] == 1][:, 2]
    assert notes.min() == heard.min() and notes.max() == heard.max()
    assert 4 * len(whole) < len(every) < 7 * len(whole)
    np.testing.assert_array_equal(still.moved_train, whole)


def test_notes_triples_graphs_and_files_agree():
    notes = tunes.tune(np.random.default_rng(1))
    found, whole = tunes.repaired(np.random.default_rng(0).permutation(tunes.triples(notes)))
    assert whole and found.tolist() == notes.tolist()
    assert tunes.playable(tunes.triples(notes))
    read = midi_ld.notes(midi_ld.read_midi(midi_ld.midi_bytes(tunes.midi_of(notes))))
    read = [[n.onset / 120, n.pitch, n.duration / 120, n.velocity] for n in read]
    assert read == notes.tolist()


@pytest.mark.parametrize(
    "tuples, left",
    [
        ([(0, 0, 0), (0, 1, 60), (0, 2, 4)], 0),  # no velocity
        ([(0, 0, 0), (0, 1, 60), (0, 2, 4), (0, 3, 0)], 0),  # of velocity 0
        ([(0, 0, 0), (0, 1, 60), (0, 2, 0), (0, 3, 80)], 0),  # of no length
        ([(0, 0, 0), (0, 1, 60), (0, 1, 61), (0, 2, 4), (0, 3, 80)], 1),  # two pitches
        ([(0, 0, 0), (0, 1, 60), (0, 2, 4), (0, 3, 80), (1, 0, 8)], 1),  # half a note more
        ([], 0),
    ],
)
def test_what_is_no_music_is_not_playable_without_repair(tuples, left):
    tuples = np.array(tuples, "int32").reshape(-1, 3)
    assert not tunes.playable(tuples)
    notes, whole = tunes.repaired(tuples)
    assert not whole and len(notes) == left
    assert tunes.playable(tunes.triples(notes)) == (left > 0)


# Likelihoods


def test_masses_are_those_of_a_gaussian_cut_into_integers():
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(-5, 135, 500), 10 ** rng.uniform(-1.3, 2, 500)
    t = rng.integers(0, 128, 500)
    low = np.where(t == 0, -np.inf, (t - 0.5 - mean) / deviation)
    high = np.where(t == 127, np.inf, (t + 0.5 - mean) / deviation)
    low, high = np.where(low + high > 0, [-high, -low], [low, high])
    upper = norm.logcdf(high)
    expected = upper + np.log(-np.expm1(norm.logcdf(low) - upper))
    given = (x.astype("float32") for x in (t, mean, deviation))
    found = np.asarray(discretized_gaussian.log_mass(*given, 128))
    assert expected.min() < -1e4  # far below the smallest float
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_masses_sum_to_one_and_samples_follow_them():
    t = np.arange(12, dtype="float32")
    for mean, deviation in ((3.2, 0.3), (-2.0, 5.0), (11.0, 1.0)):
        mass = np.exp(np.asarray(discretized_gaussian.log_mass(t, mean, deviation, 12)))
        assert mass.sum() == pytest.approx(1, abs=1e-5)
        drawn = discretized_gaussian.sample(np.full(20_000, mean, "float32"), deviation, 12, seed=0)
        share = np.bincount(np.asarray(drawn), minlength=12) / 20_000
        np.testing.assert_allclose(share, mass, atol=0.015)


def test_gradients_of_masses_are_those_of_finite_differences():
    import tensorflow as tf

    t = np.array([5.0, 0.0, 9.0, 7.0], "float32")
    mean, deviation = np.array([2.0, 3.0, 3.5, 7.1]), np.array([0.5, 2.0, 1.0, 0.2])

    def reference(mean, deviation):
        low = np.where(t == 0, -np.inf, (t - 0.5 - mean) / deviation)
        high = np.where(t == 9, np.inf, (t + 0.5 - mean) / deviation)
        low, high = np.where(low + high > 0, [-high, -low], [low, high])
        return norm.logcdf(high) + np.log(-np.expm1(norm.logcdf(low) - norm.logcdf(high)))

    given = [tf.constant(x, "float32") for x in (mean, deviation)]
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = discretized_gaussian.log_mass(t, *given, 10)
    for i, gradient in enumerate(tape.gradient(found, given)):
        step = 1e-6 * np.eye(2)[i]
        up, down = (reference(mean + s * step[0], deviation + s * step[1]) for s in (1, -1))
        np.testing.assert_allclose(gradient, (up - down) / 2e-6, rtol=1e-3, atol=1e-3)
    far = [tf.constant([500.0]), tf.constant([0.05])]
    with tf.GradientTape() as tape:
        tape.watch(far)
        found = discretized_gaussian.log_mass(np.float32([3]), *far, 128)
    assert all(
        np.isfinite(g).all() and (np.asarray(g) != 0).all() for g in tape.gradient(found, far)
    )


def test_the_kl_to_a_normal():
    mean, log_deviation = np.float32([0.0, 1.0, -2.0]), np.float32([0.0, 0.5, -1.0])
    found = np.asarray(diagonal_gaussian.kl_to_normal(mean, log_deviation))
    rng = np.random.default_rng(0)
    z = mean + np.exp(log_deviation) * rng.normal(size=(200_000, 3))
    exact = norm.logpdf(z, mean, np.exp(log_deviation)) - norm.logpdf(z)
    np.testing.assert_allclose(found, exact.mean(axis=0), atol=0.02)
    nats = np.asarray(diagonal_gaussian.normal_nats(np.float32(z[:9]), mean, log_deviation))
    np.testing.assert_allclose(
        nats, -norm.logpdf(z[:9], mean, np.exp(log_deviation)).sum(axis=1), rtol=1e-5
    )


# Models


@pytest.fixture(scope="module")
def sparse(phrases):
    keras.utils.set_random_seed(0)
    return models.network("sparse_vae", CONFIG, phrases)


def test_a_tuple_is_emitted_from_those_before_it_alone(sparse, phrases):
    x, z = phrases.valid[0][:3], np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    steps = np.arange(sparse.steps)
    means, deviations, log_values, exists = sparse.emitted(keras.ops.convert_to_tensor(x), z, steps)
    for step in (0, 1, 2, 3, 4, 5, 8, 15, 31):
        before = np.where(steps[None, :, None] < step, x, -1)
        alone = sparse.emitted(keras.ops.convert_to_tensor(before), z, np.array([step]))
        for ours, theirs in zip(
            (*means, *deviations, log_values, exists[..., None]),
            (*alone[0], *alone[1], alone[2], alone[3][..., None]),
            strict=True,
        ):
            np.testing.assert_allclose(ours[:, step], theirs[:, 0], rtol=1e-4, atol=1e-4)


def test_probabilities_of_the_next_tuple_sum_to_one(sparse, phrases):
    x, z = keras.ops.convert_to_tensor(phrases.valid[0][:1]), np.zeros((1, 4), "float32")
    means, deviations, log_values, _ = sparse.emitted(x, z, np.array([6]))
    whole = np.indices(sparse.size, dtype="float32").reshape(3, -1)
    logs = log_values[:, 0] + sum(
        discretized_gaussian.log_mass(
            whole[c][:, None], means[c][:, 0], deviations[c][:, 0], sparse.size[c]
        )
        for c in range(3)
    )
    assert np.exp(np.asarray(logs)).sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("model", ["lstm", "hyper_lstm", "dense_vae", "sparse_vae"])
def test_models_learn_and_are_of_equal_size(model, phrases):
    keras.utils.set_random_seed(0)
    config = CONFIG | dict(hidden=48, embedding=16)
    network = models.network(model, config, phrases)
    wanted = SparseVAE.parameters(22, 16, 48, 4)
    if model == "sparse_vae":
        assert network.count_params() - 1 == wanted  # one is the KL's weight
    elif model != "dense_vae":  # whose width is a few units
        assert abs(network.count_params() - 1 - wanted) < 0.05 * wanted
    if model == "hyper_lstm":
        return  # trained by the same lines as the LSTM
    x, y = phrases.valid
    before = network.nats(x)
    network.compile_with(1e-2, 30)
    network.fit(x, y, epochs=10, verbose=0)
    after = network.nats(x)
    assert np.isfinite(after).all() and after.sum() < before.sum()
    for drawn in network.sample(3, seed=0):
        assert drawn.shape[1:] == (3,)
        # A language model may begin more notes than there are, having none in its tokens.
        assert (drawn >= 0).all() and (drawn < [88, 4, 128]).all()
    if hasattr(network, "tight_nats"):
        assert network.tight_nats(x, 4, batch=4).sum() < 1.01 * after.sum()
        assert network.latent_nats(x) > 0


def test_a_dense_tensor_ends_where_the_index_space_grows():
    dense = DenseVAE.parameters(500, 128, objects=2048)
    sparse = SparseVAE.parameters(500, 24, 96, objects=2048)
    assert f"{dense / 1e9:.2f} billion weights, {12 * dense / 1e9:.1f} GB" in music.__doc__
    assert f"{sparse / 1e6:.2f} million" in " ".join(music.__doc__.split())


def test_tokens_are_a_piece_and_back(phrases):
    x, _ = phrases.whole_train
    vocabulary = language_models.Vocabulary(x)
    rng = np.random.default_rng(0)
    for piece, numbers in zip(x, vocabulary.encode(x), strict=True):
        numbers = numbers[numbers >= 0]
        assert numbers[-1] == language_models.END or len(numbers) == x.shape[1]
        found = vocabulary.decode(numbers[numbers != language_models.END], rng)
        assert found.tolist() == piece[piece[:, 0] >= 0].tolist()


def test_language_models_and_counts_see_the_same_tokens(phrases):
    """Untrained but for a bias of zero scores, both are uniform over what they know."""
    x, _ = phrases.valid
    vocabulary = language_models.Vocabulary(phrases.whole_train[0])
    network = language_models.LanguageModel("lstm", vocabulary, 22, 8, 8)
    network.scores.set_weights([np.zeros_like(w) for w in network.scores.get_weights()])
    numbers = vocabulary.encode(x)
    expected = (numbers >= 0).sum(1) * np.log(vocabulary.size)
    expected += (numbers == language_models.UNSEEN).sum(1) * vocabulary.unseen_nats
    np.testing.assert_allclose(network.nats(x), expected, rtol=1e-4)


def test_the_ngram_model():
    ngram = NGram(2, 3).fit([[0, 1, 0, 1, 2]])
    # After nothing: counts 2, 2, 1 of 5, three kinds. After 1: one 0 and one 2, two kinds.
    first = (np.array([2, 2, 1]) + 3 / 3) / 8
    after = (np.array([1, 0, 1]) + 2 * first) / 4
    np.testing.assert_allclose(ngram.probabilities([]), first)
    np.testing.assert_allclose(ngram.probabilities([0, 1]), after)
    assert ngram.nats([1, 2]) == pytest.approx(-np.log(first[1]) - np.log(after[2]))
    assert ngram.probabilities([2]).tolist() == first.tolist()  # never seen


# Measures


def test_histograms_overlaps_and_divergences():
    one = np.array([[0, 60, 4, 80], [4, 62, 4, 80], [8, 60, 8, 80]])
    assert metrics.histogram([one], "pitch_class").tolist() == [2, 0, 1] + [0] * 9
    assert np.flatnonzero(metrics.histogram([one], "interval")).tolist() == [22, 26]
    assert metrics.histogram([one, one], "length")[[4, 8]].tolist() == [4, 2]
    assert metrics.histogram([one], "onset")[4] == 2
    p, q = np.array([1, 1, 0]), np.array([0, 3, 3])
    assert metrics.overlap(p, q) == 0.5
    assert metrics.overlap(p, 0 * p) == 0
    assert metrics.divergence(p, p) == 0
    a, b = np.array([1.5, 1.5, 0.5]) / 3.5, np.array([0.5, 3.5, 3.5]) / 7.5
    assert metrics.divergence(p, q) == pytest.approx((a * np.log(a / b)).sum())
    same = metrics.likeness([one], [one])
    assert same["overlap"] == 1 and same["kl"] == 0


def test_the_classifier_tells_what_can_be_told():
    rng = np.random.default_rng(0)
    real, more = ([tunes.tune(rng) for _ in range(40)] for _ in range(2))
    noise = [
        np.stack([np.sort(rng.integers(0, 60, 15)), *rng.integers(1, 100, (3, 15))], axis=1)
        for _ in range(40)
    ]
    assert metrics.detectable(real, noise, trees=20) > 0.9
    assert 0.25 < metrics.detectable(real, more, trees=20) < 0.75
    assert metrics.detectable(real, [notes[:0] for notes in real], trees=20) > 0.9
    with pytest.raises(ValueError, match="at least 5 real and made pieces. Received: 40 and 3"):
        metrics.detectable(real, noise[:3])


# The task


def test_smoke_leaves_records_and_music(tmp_path):
    names = ["real", "ngram", "sparse_vae"]
    arguments = ["run", "music", "--preset", "smoke", "--models", ",".join(names)]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "music" / "smoke"
    for model in names:
        record = json.loads((folder / f"{model}-generated-seed0.json").read_text())
        assert record["status"] == "finished"
        test = record["metrics"]["test"]
        assert set(test) <= set(music.METRICS)
        assert (test["nats"] is None) == (model == "real")
        assert 0 <= test["valid"] <= test["repaired"] <= 1
        assert (folder / f"{model}-generated-seed0.png").is_file()
        if model == "real":
            assert test["valid"] == 1 and test["rules"] == 1
            path = folder / "real-generated-seed0.mid"
            assert midi_ld.notes(midi_ld.read_midi(path))
            graph = midi_ld.read_graph(path.with_suffix(".ttl"))
            assert midi_ld.violations(graph) == []
            played = midi_ld.notes(midi_ld.from_graph(graph))
            assert played == midi_ld.notes(midi_ld.read_midi(path))
            assert path.with_suffix(".wav").read_bytes().startswith(b"RIFF")
    assert (folder / "curves.png").is_file()
