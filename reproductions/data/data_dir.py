"""Finding the files of a data set below `--data-dir`."""

from pathlib import Path


class DataError(RuntimeError):
    """Data that is missing or unreadable; the message says what to do."""


def find(pattern: str, data_dir: Path | None, *folders: str, embedded: str) -> Path:
    """The first file of this name in the folder, or in one of the folders in it.

    `embedded` is the task's data set that needs no files.
    """
    folder = Path(data_dir or ".").expanduser()
    paths = [path for name in ("", *folders) for path in sorted((folder / name).glob(pattern))]
    if not paths:
        raise DataError(
            f"{pattern} was not found in {folder}, nor in its {', '.join(folders)}; name its "
            f"folder with --data-dir DIR. The data `{embedded}` needs no files."
        )
    return paths[0]
