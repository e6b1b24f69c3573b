"""Photographs: the two of scikit-learn, and Kodak's 24."""

from pathlib import Path

import numpy as np

from reproductions.data.data_dir import DataError


def photographs(height: int, width: int) -> np.ndarray:
    """scikit-learn's two photographs, cropped in the middle and shrunk: bytes `[2, h, w, 3]`."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        raise DataError("The photographs need scikit-learn: pip install scikit-learn") from None
    return np.stack([_fitted(image, height, width) for image in load_sample_images().images])


def kodak(data_dir: Path | None, height: int, width: int) -> np.ndarray:
    """Kodak's 24 images `kodimNN.png`, turned to landscape and shrunk: bytes `[24, h, w, 3]`."""
    folder = Path(data_dir or ".").expanduser()
    paths = sorted(folder.glob("kodim*.png")) or sorted((folder / "kodak").glob("kodim*.png"))
    if len(paths) != 24:
        raise DataError(
            f"kodim01.png to kodim24.png were not found in {folder}, nor in its kodak; name their "
            "folder with --data-dir DIR. The data `photographs` needs no files."
        )
    from PIL import Image

    images = (np.asarray(Image.open(path).convert("RGB")) for path in paths)
    return np.stack([_fitted(_landscape(image), height, width) for image in images])


def _landscape(image):
    return image if image.shape[0] <= image.shape[1] else np.rot90(image)


def _fitted(image, height, width):
    """The largest part of the right shape from the middle, resized by Lanczos."""
    from PIL import Image

    rows, columns = image.shape[:2]
    factor = min(rows / height, columns / width)
    high, wide = round(factor * height), round(factor * width)
    top, left = (rows - high) // 2, (columns - wide) // 2
    part = np.ascontiguousarray(image[top : top + high, left : left + wide])
    resized = Image.fromarray(part).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)
