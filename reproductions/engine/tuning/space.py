"""Search spaces: which settings of a model are drawn, and from where."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

# A trial's budget, which is the same for all models, and what is no setting of a model.
BUDGET = ("batch", "data", "epochs", "seeds", "steps")


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers between two ends, which belong to it; integers if both ends are.

    Args:
        low: The lower end.
        high: The upper end.
        log: Whether the logarithm is drawn evenly instead of the number (default `False`).
    """

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


Choices = tuple[Any, ...]
Space = Mapping[str, Range | Choices]  # by key of the configuration
Search = Mapping[str, Space]  # by pattern of models' names


def space_of(search: Search, model: str) -> dict[str, Range | Choices]:
    """The search space of a model: that of all patterns that match its name."""
    space: dict[str, Range | Choices] = {}
    for pattern, part in search.items():
        if fnmatchcase(model, pattern):
            space |= part
    return space


def check(space: Space, config: Mapping[str, Any]) -> None:
    """Raise a ValueError where a space does not fit a model's configuration."""
    if not space:
        raise ValueError("it has no search space")
    for key, values in space.items():
        if key in BUDGET:
            raise ValueError(f"`{key}` is part of a trial's budget, which is the same for all")
        if key not in config:
            raise ValueError(f"its configuration has no `{key}`")
        if config[key] not in values:
            raise ValueError(f"the preset's `{key}` {config[key]} is not in its space {values}")
