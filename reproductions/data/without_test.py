"""Data whose test split cannot be read, for the choice of settings."""

from typing import Any

TEST = ("test", "other_test")


class TestDataError(RuntimeError):
    """Test data were asked for where settings are chosen."""

    __test__ = False  # for pytest, which takes the name for a class of tests


class WithoutTest:
    """A task's data without its test split.

    Args:
        data: Data as a task's hook `data` gives them.
    """

    def __init__(self, data: Any):
        self._data = data

    def __getattr__(self, name: str) -> Any:
        if name in TEST:
            raise TestDataError(f"Settings are chosen on validation data: `{name}` is hidden")
        return getattr(self._data, name)
