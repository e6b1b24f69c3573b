"""Characters of many alphabets, some drawings of each: Omniglot, and letters of fonts.

Each function gives {split: Characters}. No character of one split is in another.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from reproductions.data.data_dir import DataError, find
from reproductions.data.image_batches import skewed

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Characters:
    """Drawings of characters.

    Args:
        images: Bytes of shape `[c, drawings, side, side]`; 255 is ink.
        alphabets: Integers of shape `[c]`, the alphabet of each character; -1 is not known.
    """

    images: np.ndarray
    alphabets: np.ndarray


# Omniglot's characters by number: the last one of each alphabet of Vinyals's test split, which
# begins in the middle of the first of them, and the first and last of those of validation.
TEST_BEGINS = 1201
TEST_ENDS = (1204, 1245, 1271, 1318, 1358, 1388, 1433, 1479, 1507, 1530, 1555, 1597, 1623)
VALID = ((27, 67), (132, 177), (251, 272), (466, 487), (729, 769))
BACKGROUND = 964  # characters in the first of the two files


def vinyals_split() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each split the numbers of Omniglot's characters, from 0, and their alphabets."""
    number = np.arange(1, TEST_ENDS[-1] + 1)
    test = np.where(number >= TEST_BEGINS, np.searchsorted(TEST_ENDS, number), -1)
    valid = np.full(len(number), -1)
    for alphabet, (first, last) in enumerate(VALID):
        valid[first - 1 : last] = alphabet
    train = np.flatnonzero((test < 0) & (valid < 0))
    held = {"valid": valid, "test": test}
    return {"train": (train, np.full(len(train), -1))} | {
        split: (np.flatnonzero(of >= 0), of[of >= 0]) for split, of in held.items()
    }


@lru_cache(maxsize=1)
def omniglot(data_dir: Path | None, side: int) -> dict[str, Characters]:
    """Omniglot by Vinyals's split, shrunk by linear interpolation and cropped in the middle."""
    parts = []
    for name, count in (("background", BACKGROUND), ("evaluation", TEST_ENDS[-1] - BACKGROUND)):
        path = find(f"images_{name}.npz", data_dir, "omniglot", embedded="letters")
        try:
            with np.load(path) as file:
                images = file["images"]
        except (OSError, KeyError, ValueError, EOFError) as error:
            raise DataError(f"{path} is not a readable file of Omniglot: {error}") from error
        if images.shape != (count, 20, 105, 105):
            raise DataError(
                f"{path} does not hold {count} characters, 20 drawings of 105×105 each: shape "
                f"{images.shape}"
            )
        parts.append(np.stack([_shrunk(image, side) for image in images.reshape(-1, 105, 105)]))
    images = np.concatenate(parts).reshape(-1, 20, side, side)
    return {split: Characters(images[c], of) for split, (c, of) in vinyals_split().items()}


def _shrunk(paper, side):
    """A drawing, True where there is no ink, as bytes with ink at 255."""
    from PIL import Image

    large = int(side * 1.15)
    drawing = Image.fromarray(np.where(paper, 0, 255).astype("uint8"))
    drawing = drawing.resize((large, large), Image.Resampling.BILINEAR)
    edge = (large - side) // 2
    return np.asarray(drawing)[edge : edge + side, edge : edge + side]


# Letters of matplotlib's fonts, by split and script: the first and last code of each range.
SCRIPTS = {
    "train": {
        "Latin": ((0x41, 0x5A), (0x61, 0x7A)),
        "phonetic": ((0x250, 0x2AF),),
        "Greek": ((0x391, 0x3A9), (0x3B1, 0x3C9)),
        "Cyrillic": ((0x410, 0x44F),),
        "Arabic": ((0x621, 0x63A), (0x641, 0x64A)),
        "syllabics": ((0x1401, 0x1676),),
    },
    "valid": {"Armenian": ((0x531, 0x556), (0x561, 0x586)), "old_Italic": ((0x10300, 0x1031E),)},
    "test": {
        "Hebrew": ((0x5D0, 0x5EA),),
        "NKo": ((0x7CA, 0x7EA),),
        "Lao": ((0xE81, 0xEAE),),
        "Georgian": ((0x10D0, 0x10F0),),
        "Tifinagh": ((0x2D30, 0x2D65),),
    },
}
FAMILIES = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif")
STYLES = ("", "-Bold", "-Oblique", "-Italic", "-BoldOblique", "-BoldItalic")
ALIKE = 0.9  # cosine of two letters of which one is left out
TURN, BEND = 0.2, 1.2  # by how much each drawing is turned, stretched and bent


@lru_cache(maxsize=2)
def letters(side: int, drawings: int) -> dict[str, Characters]:
    """Letters of scripts in the styles of several fonts, each drawing turned and bent at random.

    No letter looks like another one, as those of Latin, Greek and Cyrillic do, nor as upper and
    lower case do once they are of one size.
    """
    fonts, known = _fonts(), np.zeros((0, side * side))
    rng, made = np.random.default_rng(0), {}
    for split, scripts in SCRIPTS.items():
        images, alphabets = [], []
        for alphabet, ranges in enumerate(scripts.values()):
            for code in (c for first, last in ranges for c in range(first, last + 1)):
                drawn = [_letter(font, code, side) for font, has in fonts if code in has]
                if not drawn or not drawn[0].any():
                    continue
                first = drawn[0].ravel() / np.linalg.norm(drawn[0])
                if len(known) and (known @ first).max() > ALIKE:
                    continue
                known = np.concatenate([known, first[None]])
                images += [drawn[i % len(drawn)] for i in range(drawings)]
                alphabets.append(alphabet)
        bent = skewed(rng, np.stack(images)[..., None], TURN, BEND)
        pixels = np.clip(255 * bent, 0, 255).astype("uint8")
        made[split] = Characters(pixels.reshape(-1, drawings, side, side), np.array(alphabets))
    return made


def _fonts():
    """Fonts of the wanted styles, and which codes each has."""
    try:
        import matplotlib
        from matplotlib.ft2font import FT2Font
        from PIL import ImageFont
    except ImportError:
        message = "The data `letters` needs matplotlib: pip install matplotlib"
        raise DataError(message) from None
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    paths = [folder / f"{family}{style}.ttf" for style in STYLES for family in FAMILIES]
    return [
        (ImageFont.truetype(str(path), 40), set(FT2Font(str(path)).get_charmap()))
        for path in paths
        if path.exists()
    ]


def _letter(font, code, side):
    """A letter [side, side] in [0, 1], two thirds as large, in the middle."""
    from PIL import Image

    mask = font.getmask(chr(code), "L")
    image = np.zeros((side, side))
    if 0 in mask.size:
        return image
    glyph = Image.frombytes("L", mask.size, bytes(mask))
    factor = 2 / 3 * side / max(mask.size)
    width, height = (max(1, round(factor * n)) for n in mask.size)
    glyph = glyph.resize((width, height), Image.Resampling.BOX)
    top, left = (side - height) // 2, (side - width) // 2
    image[top : top + height, left : left + width] = np.asarray(glyph) / 255
    return image
