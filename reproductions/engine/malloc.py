"""Memory that a training step frees and the next one wants again."""

import ctypes

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed():
    """Freed memory stays with this process; whether the C library took that, as glibc does.

    By default glibc gives large blocks back to the system, which clears each page of them before
    the next step has it: a tenth to a half of a step. To be called before data is loaded; after
    that it had no effect.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    settings = {
        M_MMAP_THRESHOLD: 32 << 20,  # the most that it takes
        M_TRIM_THRESHOLD: 2**31 - 1,
        M_TOP_PAD: 64 << 20,
    }
    return all(mallopt(option, value) for option, value in settings.items())
