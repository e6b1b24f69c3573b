"""Drawings as a pen's offsets: words in outlined letters, kanji, omniglot; and batches of them.

A drawing is an array `[t, 3]`: for each point its offset from the one before, to the right and
down, and 1 where the pen then leaves the paper, else 0. Offsets are in units of the training
offsets' standard deviation, both directions together.
"""

from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from reproductions.data.data_dir import DataError

HANDS = ("DejaVu Sans", "STIXGeneral")  # fonts that come with matplotlib
WORDS = """
and ant ape arc arm art ash ask bad bag ban bar bat bay bed bee bet bid big bit bow box boy bud bug
bun bus but buy cab can cap car cat cow cry cup cut dad dam day den dew did dig dim dip dog dot dry
due ear eat egg elm end eye fan far fat fee few fig fin fit fix fly fog for fox fun fur gap gas get
got gum gun guy had ham has hat hay hen her hid him hip his hit hog hop hot how hug hut ice ink jam
jar jaw jet job joy key kid kin kit lab lap law lay led leg let lid lie lip lot low mad man map mat
may men met mix mud mug nap net new nod nor not now nut oak oar odd off oil old one our out owl own
pan paw pay pea peg pen pet pie pig pin pit pot put rag ram ran rat raw ray red rib rid rim rob rod
row rub rug run sad sap sat saw say sea see set she shy sip sir sit six sky sly son sow soy spy sum
sun tag tan tap tar tax tea ten the tie tin tip toe ton top toy try tub two use van vat vet vow wag
war was wax way web wet who why wig win wit won yes yet you zip zoo
able acid aged also area army away baby back ball band bank base bath bear beat bell best bird blue
boat body bone book born both bowl bulk burn bush busy cake call calm came camp card care case cash
cell chat chip city club coal coat code cold come cook cool copy corn cost crew crop dark data date
dawn days dead deal dear debt deep desk dial diet disc does done door down draw drew drop drug dual
duke dust duty each earn ease east easy edge else even ever exit face fact fair fall farm fast fear
feed feel feet fell file fill film find fine fire firm fish five flat flow food foot form free from
fuel full fund gain game gate gave gear gift girl give glad goal goes gold golf gone good gray grew
grow half hall hand hang hard have head hear heat held help here high hill hold hole home hope host
hour huge hunt idea inch into iron item join jump jury just keep kept kind king knee knew know lack
""".split()
TOLERANCE = 0.025  # of an outline, in sizes of the font
JITTER = dict(slant=0.25, width=0.15, height=0.1, turn=0.05, noise=0.01)
UNREADABLE = (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile, UnpicklingError)
FILES = {"kanji": "kanji.rdp100.npz", "omniglot": "omniglot.npz"}


def simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """A line with fewer points, none of the others further from it (Ramer, Douglas & Peucker)."""
    first, last = points[0], points[-1]
    (x, y), (a, b) = (points[1:-1] - first).T, last - first
    length = np.hypot(a, b)
    far = np.abs(x * b - y * a) / length if length else np.hypot(x, y)
    if not len(far) or far.max() <= tolerance:
        return np.stack([first, last])
    cut = far.argmax() + 1
    parts = simplified(points[: cut + 1], tolerance), simplified(points[cut:], tolerance)
    return np.concatenate([parts[0][:-1], parts[1]])


@cache
def outline(word, hand):
    """A word's contours in a font of size 1, letter by letter: points `[t, 2]`, lifts `[t]`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    contours = TextPath((0, 0), word, size=1, prop=FontProperties(family=hand)).to_polygons()
    lines = [simplified(line, TOLERANCE) for line in contours]
    lifts = np.concatenate([np.arange(len(line)) == len(line) - 1 for line in lines])
    return np.concatenate(lines) * (1, -1), lifts


def jittered(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """A word's points as another writer would set them: slant, size, turn, and a hand's tremor."""
    width, height = np.exp(rng.normal(0, (JITTER["width"], JITTER["height"])))
    slant, turn = rng.normal(0, (JITTER["slant"], JITTER["turn"]))
    cosine, sine = np.cos(turn), np.sin(turn)
    shape = np.array([[width, 0], [-slant * height, height]]) @ [[cosine, sine], [-sine, cosine]]
    return points @ shape + rng.normal(0, JITTER["noise"], points.shape)


def offsets(points: np.ndarray, lifts: np.ndarray) -> np.ndarray:
    return np.column_stack([np.diff(points, axis=0, prepend=[[0, 0]]), lifts])


class Drawings:
    """Batches `(x [b, t, 3], y [b, t, 4])`: the points before, and the points with a weight.

    `splits` are lists of drawings, `scale` is their unit, `change(rng, drawing)` gives training's
    versions of one. Sequences end with padding of weight 0, up to a multiple of `config["pad"]`
    steps, so that few lengths occur; drawings of like length share a batch.
    """

    def __init__(self, splits, scale, change, config):
        self.splits, self.scale, self.change, self.config = splits, scale, change, config

    def batch(self, drawings: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        pad = self.config["pad"]
        steps = -(-max(map(len, drawings)) // pad) * pad
        y = np.zeros((len(drawings), steps, 4), "float32")
        for row, drawing in zip(y, drawings, strict=True):
            row[: len(drawing), :2] = drawing[:, :2] / self.scale
            row[: len(drawing), 2] = drawing[:, 2]
            row[: len(drawing), 3] = 1
        return np.pad(y[:, :-1, :3], [(0, 0), (1, 0), (0, 0)]), y

    def train(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The epoch's batches, of a length that varies, which Keras takes from `tf.data` alone."""
        import tensorflow as tf

        shapes = tuple(tf.TensorSpec((None, None, n), tf.float32) for n in (3, 4))
        made = tf.data.Dataset.from_generator(
            lambda: self.batches(seed, epoch), output_signature=shapes
        )
        return made.prefetch(4)

    def batches(self, seed, epoch):
        rng, source = np.random.default_rng([4, seed, epoch]), self.splits["train"]
        size, steps = self.config["batch"], self.config["steps"]
        # Where an epoch asks for more than there is, the order begins again.
        order = rng.permutation(len(source)).take(np.arange(size * steps), mode="wrap")
        for part in np.array_split(order, max(1, steps // 10)):
            chosen = sorted((self.augmented(rng, source[i]) for i in part), key=len)
            batches = [chosen[i : i + size] for i in range(0, len(chosen), size)]
            for i in rng.permutation(len(batches)):
                yield self.batch(batches[i])

    def augmented(self, rng, drawing):
        """Changed, and each direction scaled by up to `config["scaling"]` either way."""
        reach = self.config["scaling"]
        return self.change(rng, drawing) * [*rng.uniform(1 - reach, 1 + reach, 2), 1]

    @cached_property
    def valid(self) -> tuple[np.ndarray, np.ndarray]:
        return self.batch(self.splits["valid"])

    @cached_property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        return self.batch(self.splits["test"])


def word_splits():
    """{split: words}, an eighth each for validation and test."""
    place = np.random.default_rng(0).permutation(len(WORDS)) % 8
    names = {0: "valid", 1: "test"}
    splits = {"train": [], "valid": [], "test": []}
    for word, number in zip(WORDS, place.tolist(), strict=True):
        splits[names.get(number, "train")].append(word)
    return splits


def words(config: dict[str, Any]) -> Drawings:
    """Jittered words; those of training are set anew each time, the others once."""
    plain = {
        split: [outline(word, hand) for word in split_words for hand in HANDS]
        for split, split_words in word_splits().items()
    }
    splits = {"train": plain["train"]}
    for number, split in enumerate(("valid", "test"), 1):
        rng = np.random.default_rng(number)
        chosen = rng.integers(0, len(plain[split]), config[split])
        splits[split] = [change_word(rng, plain[split][i]) for i in chosen]
    scale = np.concatenate([offsets(*drawing) for drawing in plain["train"]])[:, :2].std()
    return Drawings(splits, scale, change_word, config)


def change_word(rng, drawing):
    points, lifts = drawing
    return offsets(jittered(rng, points), lifts)


def stored(name: str, config: dict[str, Any], data_dir: Path | None) -> Drawings:
    """Kanji or omniglot by D. Ha, github.com/hardmaru/sketch-rnn-datasets, from `data_dir`."""
    folder, file = Path(data_dir or ".").expanduser(), FILES[name]
    places = (folder / place / file for place in ("", name, f"strokes/{name}"))
    paths = [path for path in places if path.is_file()]
    if not paths:
        raise DataError(
            f"{file} was not found in {folder}. Put it from "
            f"https://github.com/hardmaru/sketch-rnn-datasets ({name}) into a folder and name it "
            "with --data-dir DIR. The data `words` needs no files."
        )
    try:
        # Lists of arrays are stored as pickles, which can run code: these two files only.
        with np.load(paths[0], allow_pickle=True, encoding="latin1") as opened:
            splits = {split: opened[split] for split in ("train", "valid", "test")}
        for split, drawings in splits.items():
            splits[split] = [
                whole(drawing) for drawing in drawings[: config.get(split)] if len(drawing) > 1
            ]
    except UNREADABLE as error:
        raise DataError(f"{paths[0]} is not a readable set of drawings: {error}") from error
    scale = np.concatenate(splits["train"])[:, :2].std()
    return Drawings(splits, scale, lambda rng, drawing: drawing, config)


def whole(drawing: np.ndarray) -> np.ndarray:
    """A stored drawing in float; a first offset of nothing, as omniglot's, left out."""
    drawing = np.asarray(drawing, "float64")
    if drawing.ndim != 2 or drawing.shape[1] != 3:
        raise ValueError(f"expected drawings of shape [t, 3], got {drawing.shape}")
    return drawing if drawing[0, :2].any() else drawing[1:]
