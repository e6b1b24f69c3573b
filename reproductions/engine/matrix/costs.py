"""What a model costs beside its accuracy: time of a training step, memory at inference."""

import ctypes
import gc
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # man 5 proc


def step_ms(epochs: Sequence[float], steps: int) -> float | None:
    """Milliseconds of a training step: the median epoch, without the first, which compiles.

    Args:
        epochs: The seconds that the steps of each epoch took.
        steps: Number of steps in an epoch.
    """
    later = epochs[1:]
    return round(1000 * statistics.median(later) / steps, 3) if later else None


def peak_mb(work: Callable[[], object]) -> float | None:
    """How much memory `work` takes at most, above what the process held before, in megabytes.

    None where the system cannot tell: it needs Linux and glibc.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # give back what was freed, so that it is counted anew
        CLEAR.write_text(RESET_PEAK)
        before = _held("VmRSS")
        work()
        return round(max(0.0, _held("VmHWM") - before), 1)
    except (OSError, AttributeError, TypeError):
        return None


def _held(field: str) -> float:
    """Megabytes that the process holds now (VmRSS), or at most did since the reset (VmHWM)."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields[field].split()[0]) / 1024
