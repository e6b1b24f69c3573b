"""Memory that a training step frees and the next one wants again."""

import ctypes

# glibc's malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed() -> bool:
    """Tell the C library to keep freed memory in this process.

    By default glibc returns large blocks to the system, which clears each of their pages before
    the next step gets them; that takes a good part of a step. Call it before data is loaded, since
    it has no effect later.

    Returns:
        Whether the C library accepted it, as glibc does.
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
