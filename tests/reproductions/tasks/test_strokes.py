"""The strokes task: its drawings, networks, what they draw, records, and the page."""

import html
import json
import re
import shutil
import subprocess

import keras
import numpy as np
import pytest

from reproductions.__main__ import main
from reproductions.data import pen_strokes
from reproductions.data.data_dir import DataError
from reproductions.tasks import strokes
from reproductions.tasks.strokes import networks, plots

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def settings(model="hyper_lstm", preset="smoke", **changes):
    return strokes.TASK.settings(model, preset, "words")[0] | changes


def places(drawing):
    return np.cumsum(drawing[:, :2], axis=0)


# Drawings


def test_no_word_is_in_two_splits():
    splits = pen_strokes.word_splits()
    every = [word for words in splits.values() for word in words]
    assert sorted(every) == sorted(set(pen_strokes.WORDS)) and len(every) > 400
    found = pen_strokes.words(settings(valid=7, test=9))
    assert len(found.splits["valid"]) == 7 and len(found.splits["test"]) == 9
    for split, words in splits.items():
        lifts = {
            pen_strokes.outline(w, hand)[1].tobytes() for w in words for hand in pen_strokes.HANDS
        }
        for one in found.splits[split]:
            pen = one[1] if split == "train" else one[:, 2].astype(bool)
            assert pen.tobytes() in lifts


def test_an_outline_keeps_close_to_its_letters():
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    for hand, contours in zip(pen_strokes.HANDS, (2 + 2 + 2, 2 + 2 + 3), strict=True):
        points, lifts = pen_strokes.outline("dig", hand)
        assert lifts.sum() == contours
        font = FontProperties(family=hand)
        curves = np.concatenate(TextPath((0, 0), "dig", size=1, prop=font).to_polygons())
        corners = np.split(points, np.flatnonzero(lifts) + 1)[:-1]
        ends = [np.stack([one[:-1], one[1:]]) for one in corners]
        first, last = np.concatenate(ends, axis=1)  # of all straight parts
        along = last - first
        away = curves[:, None] * (1, -1) - first
        share = np.clip((away * along).sum(-1) / (along**2).sum(-1), 0, 1)
        distance = np.hypot(*np.moveaxis(away - share[..., None] * along, -1, 0)).min(1)
        assert distance.max() <= pen_strokes.TOLERANCE + 1e-9
        assert all(np.array_equal(one[0], one[-1]) for one in corners)
        assert points[:, 1].max() > 0.1 and points[:, 1].min() < -0.6  # down is positive


def test_a_line_loses_the_points_that_it_can_spare():
    line = np.array([[0, 0], [1, 0.01], [2, 0], [2, 1], [2.2, 2], [2, 3.0]])
    np.testing.assert_array_equal(pen_strokes.simplified(line, 0.1), line[[0, 2, 4, 5]])


def test_jitter_is_seeded_small_and_keeps_the_pen():
    points, lifts = pen_strokes.outline("at", pen_strokes.HANDS[0])
    first, again, other = (
        pen_strokes.change_word(np.random.default_rng(s), (points, lifts)) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(first[:, 2], lifts)
    rng = np.random.default_rng(0)
    moved = [places(pen_strokes.change_word(rng, (points, lifts))) for _ in range(300)]
    np.testing.assert_allclose(np.mean(moved, axis=0), points, atol=0.06)
    assert np.std(moved, axis=0).mean() > pen_strokes.JITTER["noise"]


def test_batches_are_a_function_of_seed_and_epoch_and_padded():
    found = pen_strokes.words(settings(pad=36, steps=20))

    def epoch(*position):
        return list(found.train(*position).as_numpy_iterator())

    first, again = epoch(0, 1), epoch(0, 1)
    assert len(first) == 20
    for (x, y), (x_again, y_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(y, y_again)
        np.testing.assert_array_equal(x, x_again)
        assert y.shape[0] == 8 and y.shape[1] % 36 == 0 and y.shape[2] == 4
        np.testing.assert_array_equal(x[:, 1:], y[:, :-1, :3])
        assert not x[:, 0].any()
        lengths = y[..., 3].sum(1).astype(int)
        assert y.shape[1] - 36 < lengths.max() <= y.shape[1]
        for row, length in zip(y, lengths, strict=True):
            assert row[:length, 3].all() and not row[length:].any()
            assert row[length - 1, 2] == 1
    assert len({y.shape[1] for _, y in first}) > 1
    sums = {float(epoch(*p)[0][1].sum()) for p in ((0, 0), (0, 1), (1, 0))}
    assert len(sums) == 3
    offsets = np.concatenate([y[y[..., 3] > 0, :2] for _, y in first])
    assert offsets.std() == pytest.approx(1, abs=0.1)


def test_training_scales_each_direction_a_little():
    drawing = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, 1.0]])
    found = pen_strokes.Drawings({}, 1.0, lambda rng, one: one, dict(scaling=0.1))
    rng = np.random.default_rng(0)
    scaled = np.array(
        [found.augmented(rng, drawing) / np.where(drawing, drawing, 1) for _ in range(200)]
    )
    assert (scaled[:, 0, 2] == 0).all() and (scaled[:, 1, 2] == 1).all()
    np.testing.assert_allclose(scaled[:, 0, :2], scaled[:, 1, :2])
    assert 0.9 <= scaled[:, 0, :2].min() < 0.91 and 1.09 < scaled[:, 0, :2].max() <= 1.1


def stored(folder, arrays, file="kanji.rdp100.npz"):
    folder.mkdir(parents=True, exist_ok=True)
    lists = {}
    for split, found in arrays.items():
        lists[split] = np.empty(len(found), object)
        lists[split][:] = [np.array(one, "int16") for one in found]
    np.savez(folder / file, **lists)


def test_stored_drawings_are_read_scaled_and_counted(tmp_path):
    one, two = [[3, 4, 0], [0, -3, 1]], [[0, 0, 0], [6, 0, 0], [0, 2, 1]]
    stored(tmp_path / "strokes" / "kanji", dict(train=[one, two], valid=[two] * 3, test=[one]))
    found = strokes.data("kanji", settings(valid=2, test=5, pad=4), tmp_path)
    assert [len(found.splits[s]) for s in ("train", "valid", "test")] == [2, 2, 1]
    scale = np.std([3, 4, 0, -3, 6, 0, 0, 2])
    x, y = found.valid
    assert x.shape == (2, 4, 3) and y[0, :, 3].tolist() == [1, 1, 0, 0]
    np.testing.assert_allclose(y[0, :2, :2] * scale, [[6, 0], [0, 2]], rtol=1e-6)


def test_missing_and_broken_files_say_what_to_do(tmp_path):
    with pytest.raises(DataError, match="kanji.rdp100.npz was not found.*--data-dir.*`words`"):
        strokes.data("kanji", settings(), tmp_path)
    (tmp_path / "omniglot.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="omniglot.npz is not a readable set of drawings"):
        strokes.data("omniglot", settings(), tmp_path)
    stored(tmp_path, dict(train=[[[1, 2], [3, 4]]], valid=[], test=[]))
    with pytest.raises(DataError, match=r"shape \[t, 3\], got \(2, 2\)"):
        strokes.data("kanji", settings(), tmp_path)


# Networks


@pytest.mark.parametrize("preset", ["quick", "full"])
def test_models_have_equal_parameters(preset):
    counts = [
        networks.network(model, settings(model, preset)).count_params() for model in strokes.MODELS
    ]
    assert max(counts) / min(counts) < 1.02


def small(model="hyper_lstm"):
    keras.utils.set_random_seed(0)
    network = networks.network(model, settings(model, units=8, hyper_units=4, mixtures=2))
    layer = network.get_layer("recurrent")
    for weight in layer.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.2))
    return network


@pytest.mark.parametrize("model", strokes.MODELS)
def test_drawing_point_by_point_is_the_network_on_what_it_drew(model):
    network = small(model)
    points, changes = networks.draw(network, 3, 6, seed=1)
    assert points.shape == (3, 6, 3) and set(np.unique(points[..., 2])) <= {0, 1}
    again, other = (networks.draw(network, 3, 6, seed=s)[0] for s in (1, 2))
    np.testing.assert_array_equal(points, again)
    assert (points != other).any()
    # The whole network, given these points, has the densities that they were drawn from: the same
    # draws come from them.
    x = np.pad(points[:, :-1], [(0, 0), (1, 0), (0, 0)])
    whole, step = network.get_layer("recurrent"), networks.one_step(network)
    config = {**whole.get_config(), "use_xla": False}
    if "hyper" in model:
        config["return_weight_changes"] = True
    layer = type(whole).from_config(config)
    layer.build(x.shape)
    layer.set_weights(whole.get_weights())
    states, outputs = step.get_initial_state(3), []
    for t in range(6):
        output, states = step(keras.ops.convert_to_tensor(x[:, t]), states)
        outputs.append(output[:, :8])
    found = layer(x)
    if "hyper" in model:
        found, expected = found
        np.testing.assert_allclose(changes, expected, rtol=1e-4, atol=1e-6)
        assert changes.min() >= 0 and changes.max() > 0
    else:
        assert changes is None
    np.testing.assert_allclose(np.stack(outputs, axis=1), found, rtol=1e-4, atol=1e-6)


def test_padding_changes_no_loss():
    network, config = small(), settings(units=8, hyper_units=4, mixtures=2)
    networks.compile_network(network, config)
    found = pen_strokes.words(config | dict(valid=4))
    losses = []
    for pad in (1, 112):
        found.config["pad"] = pad
        losses.append(strokes.evaluate(network, *found.batch(found.splits["valid"]), config))
    assert losses[0]["nats"] == pytest.approx(losses[1]["nats"], rel=1e-5)
    points = sum(map(len, found.splits["valid"]))
    assert losses[0]["loss"] == pytest.approx(4 * losses[0]["nats"] / points, rel=1e-5)


# Pictures and records


def test_strokes_go_from_where_the_pen_comes_down_to_where_it_lifts():
    drawing = np.array([[1, 1, 0], [1, 0, 1], [2, 2, 1], [0, 1, 0], [1, 0, 0]], float)
    found = [stroke.tolist() for stroke in plots.lines(drawing)]
    assert found == [[[1, 1], [2, 1]], [[4, 3]], [[4, 4], [5, 4]]]


def test_a_run_leaves_records_pictures_and_what_a_page_shows(tmp_path, capsys):
    words = ["run", "strokes", "--preset", "smoke", "--models", "lstm,hyper_lstm"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "strokes" / "smoke"
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        assert record["status"] == "finished" and np.isfinite(record["metrics"]["test"]["nats"])
        assert record["parameters"]["generated"] == (record["model"] == "hyper_lstm") * 12 * 110
    assert not list(folder.glob("*.html"))
    assert main(["page", "strokes", "--out", str(tmp_path)]) == 0
    assert str(folder / "hyper_lstm-words-seed0.html") in capsys.readouterr().out
    assert {path.name for path in folder.glob("*.html")} == {"hyper_lstm-words-seed0.html"}
    assert len(list(folder.glob("*.png"))) == 2 + 1
    page = (folder / "hyper_lstm-words-seed0.html").read_text()
    assert len(page) < 200_000 and "DRAWINGS" not in page
    assert not re.search(
        r"""(src|href)=|url\(|@import|fetch\(|https?://(?!www\.w3\.org/2000/svg)""", page
    )


# The page in a browser

DRIVER = """
<script>
const log = [];
const look = moment => log.push({
  moment, button: part.play.textContent, place: part.place.value,
  paths: [...part.strokes.children].map(one => one.getAttribute("d")),
  bars: [...document.querySelectorAll("[role=meter]")].map(one => one.ariaValueNow),
  widths: [...document.querySelectorAll(".bar i")].map(one => one.style.width),
});
const steps = [
  [0, () => {}], [0, () => part.play.click()], [1000, () => {}], [0, () => part.play.click()],
  [1000, () => {}], [0, () => { part.speed.value = 60; part.play.click(); }], [250, () => {}],
  [0, () => { part.play.click(); part.next.click(); }], [0, () => part.play.click()],
  [60000, () => {}],
];
(function next() {
  if (!steps.length) { document.body.dataset.log = JSON.stringify(log); return; }
  const [wait, act] = steps.shift();
  setTimeout(() => { act(); look(log.length); next(); }, wait);
})();
</script>
"""


@pytest.fixture(scope="module")
def browsed(tmp_path_factory):
    """What the page shows at each moment of `DRIVER`, and what it was given."""
    if CHROMIUM is None:
        pytest.skip("no chromium here; Debian: apt-get install chromium")
    folder, rng = tmp_path_factory.mktemp("page"), np.random.default_rng(0)
    config = settings(test=2)
    found = pen_strokes.words(config)
    given = [row[row[:, 3] > 0, :3].astype(float) for row in found.test[1]]
    given[0][3, 2] = given[0][4, 2] = 1  # a stroke of one point
    changes = [rng.random((len(one), 4)) for one in given]
    plots.store(given, changes, "Two <words>.", folder / "page.json")
    plots.page(folder / "page.json", folder / "page.html")
    page = (folder / "page.html").read_text()
    (folder / "driven.html").write_text(page.replace("</body>", DRIVER + "</body>"))
    words = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", f"--user-data-dir={folder / 'profile'}"),
        *("--virtual-time-budget=100000", "--dump-dom", (folder / "driven.html").as_uri()),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    text = re.search(r'data-log="([^"]*)"', done.stdout)
    assert text, done.stderr[-2000:]
    return json.loads(html.unescape(text[1])), given, changes, done.stdout


def drawn(paths):
    return [
        np.array(re.findall(r"-?[\d.]+", path.removesuffix("h0")), float).reshape(-1, 2)
        for path in paths
    ]


def same(paths, points):
    found, expected = drawn(paths), plots.lines(points)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.03)  # of offsets with three digits


def point_of(moment):
    return [int(word) for word in re.findall(r"\d+", moment["place"])]


def test_the_page_draws_the_points_and_their_bars(browsed):
    log, given, changes, dom = browsed
    whole, *_ = log
    assert whole["button"] == "Play" and point_of(whole) == [1, 2, len(given[0]), len(given[0])]
    same(whole["paths"], given[0])
    assert "Two &lt;words&gt;." in dom
    highest = max(one.max() for one in changes)
    for moment in log:
        which, _, count, _ = point_of(moment)
        same(moment["paths"], given[which - 1][:count])
        bars = changes[which - 1][count - 1] if count else np.zeros(4)
        np.testing.assert_allclose(np.array(moment["bars"], float), bars, atol=1e-3)
        widths = [float(one.removesuffix("%")) for one in moment["widths"]]
        np.testing.assert_allclose(widths, 100 * bars / highest, atol=0.2)


def test_the_page_plays_pauses_speeds_up_and_goes_on(browsed):
    log, given, _, _ = browsed
    _, started, second, paused, later, faster, fast, chosen, again, end = log
    assert started["button"] == "Pause" and point_of(started)[2] == 1
    assert second["button"] == "Pause" and 12 <= point_of(second)[2] <= 18  # 16 points a second
    assert paused["button"] == "Play" and paused["place"] == later["place"]
    assert 8 <= point_of(fast)[2] - point_of(faster)[2] <= 16  # 60 points a second
    assert chosen["button"] == "Play"
    assert point_of(chosen) == [2, 2, len(given[1]), len(given[1])]
    assert point_of(again)[:3] == [2, 2, 1]
    assert end["button"] == "Pause" and point_of(end)[2] <= point_of(end)[3]


def test_the_page_can_be_used_by_keyboard_and_on_a_phone(browsed):
    dom = browsed[-1]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in dom
    assert len(re.findall("<button ", dom)) == 3 and "<label>Speed <input" in dom
    assert len(re.findall('role="meter"', dom)) == 4 and "prefers-color-scheme: dark" in dom
