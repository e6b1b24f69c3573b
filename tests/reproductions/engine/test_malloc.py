"""Freed memory that stays with the process."""

import ctypes
import subprocess
import sys

import pytest

# Pages that the system had to give for five times sixteen arrays of 8 MB, freed between.
SCRIPT = """
import resource, sys, threading
import numpy as np
from reproductions.engine import malloc

if sys.argv[1] == "kept":
    assert malloc.keep_freed()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def allocate():
    for _ in range(5):
        arrays = [np.ones(2**20) for _ in range(16)]
        del arrays

def run():
    allocate()
    before = faults()
    allocate()
    print(faults() - before)

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def pages(how):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")
def test_freed_memory_is_not_asked_for_again():
    assert 10 * max(pages("kept"), 10) < pages("given back")
