"""Files that are written whole or not at all, and a lock that one process holds at a time."""

import contextlib
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has none: there, nothing is locked
    fcntl = None


class RecordError(RuntimeError):
    """A record or checkpoint that cannot be used, or cannot be written."""


def write(path: Path, content: bytes) -> None:
    """Write bytes to a file, through a temporary file with a name of its own.

    Raises:
        RecordError: If they cannot be written; the file that was there before stays as it was.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a full disk may say so only now
        temporary.replace(path)
    except OSError as error:
        raise RecordError(
            f"{path} could not be written ({error.strerror}); nothing half-written was left. The "
            "same command goes on from what was written before"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Remove temporary files of processes that were killed while they wrote the file `path`."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove the file, and its folder if that is empty then."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


@contextlib.contextmanager
def lock(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`; yields whether this process holds it.

    The system releases it when the process ends, however it ends.

    Args:
        path: Path of the lock file.
        wait: Whether to wait while another process holds it.
    """
    if fcntl is None:
        yield True
        return
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a")
        except FileNotFoundError:  # its last holder removed the folder just now
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            if not _is_at(path, file):  # its last holder removed it: this locks nothing
                continue
            try:
                yield True
            finally:
                remove(path)
            return


def _is_at(path: Path, file: IO) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
