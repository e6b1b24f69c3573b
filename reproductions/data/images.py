"""The tasks' data: embedded in scikit-learn, or read from `--data-dir`.

Each function gives {split: (images, labels)}. Heavy packages are imported where they are used.
"""

import gzip
import io
import lzma
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

from reproductions.data.data_dir import DataError, find

IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def digits(scale: int = 2) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """scikit-learn's 1797 digits of 8×8, pixels repeated: {split: ([n, 8s, 8s, 1], labels [n])}."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("The data `digits` needs scikit-learn: pip install scikit-learn") from None
    images, labels = load_digits(return_X_y=True)
    images = (
        (images.reshape(-1, 8, 8, 1) / 16.0).astype("float32").repeat(scale, 1).repeat(scale, 2)
    )
    order = np.random.default_rng(0).permutation(len(images))
    parts = {"train": order[:1197], "valid": order[1197:1497], "test": order[1497:]}
    return {split: (images[i], labels[i].astype("int32")) for split, i in parts.items()}


def mnist(data_dir: Path | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MNIST, the last 5000 training digits as validation: {split: ([n, 28, 28, 1], labels [n])}."""
    folder = Path(data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    names = [name for pair in IDX_FILES.values() for name in pair]
    for place in (folder, folder / "mnist", folder / "downloads" / "manual"):
        if all((place / name).is_file() for name in names):
            read = {s: _read_pair(place, *pair) for s, pair in IDX_FILES.items()}
            break
    else:
        read = _prepared_mnist(folder, names)
    arrays = {
        split: ((x.reshape(-1, 28, 28, 1) / np.float32(255)), y.astype("int32"))
        for split, (x, y) in read.items()
    }
    x, y = arrays["train"]
    return {
        "train": (x[:-5000], y[:-5000]),
        "valid": (x[-5000:], y[-5000:]),
        "test": arrays["test"],
    }


def _prepared_mnist(folder, names):
    if not any(folder.glob("mnist/*/dataset_info.json")):  # before an import that takes seconds
        raise DataError(
            f"MNIST was not found in {folder}. Put the four files {', '.join(names)} into a folder "
            "and name it with --data-dir DIR, or prepare MNIST once, with a network: "
            "python -c \"import tensorflow_datasets as t; t.load('mnist')\". "
            "The data `digits` needs no files."
        )
    try:
        import tensorflow_datasets as tfds

        read = tfds.load("mnist", data_dir=folder, download=False, batch_size=-1)
    except Exception as error:
        message = f"MNIST in {folder} could not be read by tensorflow-datasets: {error}"
        raise DataError(message) from error
    return {
        split: [read[split][k].numpy() for k in ("image", "label")] for split in ("train", "test")
    }


def _read_pair(place, images, labels):
    x, y = _read_idx(place / images), _read_idx(place / labels)
    if x.shape != (len(y), 28, 28) or y.shape != (len(y),):
        raise DataError(
            f"{place / images} and {labels} don't hold an image of 28×28 and a label for each: "
            f"shapes {x.shape} and {y.shape}"
        )
    return x, y


def _read_idx(path):
    try:
        with gzip.open(path) as file:
            content = file.read()
        _, _, kind, rank = struct.unpack(">4B", content[:4])
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        if kind != 8:
            raise ValueError(f"expected unsigned bytes (type 8), got type {kind}")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{path} is not a readable idx file: {error}") from error


def cifar10(data_dir: Path | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR-10 from its binary files: {split: ([n, 32, 32, 3] of 0 to 255, labels [n])}."""
    folder = Path(data_dir or ".").expanduser()
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for place in (folder, folder / "cifar-10-batches-bin"):
        if all((place / name).is_file() for name in names):
            break
    else:
        raise DataError(
            f"CIFAR-10 was not found in {folder}. Unpack cifar-10-binary.tar.gz and name its "
            "folder with --data-dir DIR. The data `digits` needs no files."
        )
    rows = [np.fromfile(place / name, np.uint8) for name in names]
    for name, row in zip(names, rows, strict=True):
        if not len(row) or len(row) % 3073:
            raise DataError(f"{place / name} does not hold records of 3073 bytes")
        if len(row) != len(rows[0]):  # the six files hold equally many images
            raise DataError(f"{place / name} is not as long as {names[0]}: one of them is cut")
        if row[::3073].max() > 9:
            raise DataError(f"{place / name} holds labels above 9")
    rows = [row.reshape(-1, 3073) for row in rows]
    whole, test = (
        (part[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), part[:, 0].astype("int32"))
        for part in (np.concatenate(rows[:5]), rows[5])
    )
    return _cifar_splits(whole, test)


def cifar10_jpeg(data_dir: Path | None = None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR-10's images as lossy JPEGs, from a tar file: splits as of `cifar10`.

    Members are named `train/CLASS/NUMBER.jpg` and `test/CLASS/NUMBER.jpg`.
    """
    path = find("cifar10_jpeg*.tar.xz", data_dir, "cifar10", embedded="digits")
    try:
        from PIL import Image
    except ImportError:
        raise DataError("The data `cifar10_jpeg` needs Pillow: pip install pillow") from None
    images, labels = {"train": [], "test": []}, {"train": [], "test": []}
    try:
        with tarfile.open(path) as file:
            for member in file:
                if not member.name.endswith(".jpg"):
                    continue
                split, name, _ = member.name.removeprefix("./").split("/")
                picture = Image.open(io.BytesIO(file.extractfile(member).read())).convert("RGB")
                images[split].append(np.asarray(picture, "uint8"))
                labels[split].append(CIFAR10_CLASSES.index(name))
        whole, test = (
            (np.stack(images[split]), np.array(labels[split], "int32"))
            for split in ("train", "test")
        )
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError, lzma.LZMAError) as error:
        raise DataError(f"{path} is not a readable set of JPEG images: {error}") from error
    return _cifar_splits(whole, test)


def _cifar_splits(whole, test):
    """A tenth of the training images, the same in every run, is for validation."""
    images, labels = whole
    order = np.random.default_rng(0).permutation(len(images))
    cut = len(images) // 10
    parts = {"train": order[cut:], "valid": order[:cut]}
    return {split: (images[i], labels[i]) for split, i in parts.items()} | {"test": test}
