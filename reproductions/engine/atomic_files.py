"""Files that are written whole or not at all, and a lock that one process holds at a time."""

import contextlib
import glob
import os
import secrets

try:
    import fcntl
except ImportError:  # Windows has none: there, nothing is locked
    fcntl = None


class RecordError(RuntimeError):
    """A record or checkpoint that cannot be used, or cannot be written."""


def write(path, content):
    """Give the file at `path` these bytes, through a temporary file of a name of its own.

    Raises:
        RecordError: Where they cannot be written; what stood at `path` stands there still.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a full disk may say so only now
        os.replace(temporary, path)
    except OSError as error:
        raise RecordError(
            f"{path} could not be written ({error.strerror}); nothing half-written was left. The "
            "same command goes on from what was written before"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def sweep(path):
    """Remove the temporary files that processes left which were killed while they wrote `path`."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.tmp"):
        left.unlink(missing_ok=True)


def remove(path):
    """Remove the file, and its folder if nothing else is in there."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


@contextlib.contextmanager
def lock(path, wait):
    """Hold the lock file `path`; gives whether it is held, at once unless told to `wait` for it.

    The system lets go of it when the process ends, however it ends.
    """
    if fcntl is None:
        yield True
        return
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a")
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


def _is_at(path, file):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
