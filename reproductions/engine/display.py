"""How a task's results are shown: what its page, its chart and the README read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FAMILIES = ("dense", "static", "dynamic", "sparse", "recurrent")  # the columns of the matrix
Patterns = tuple[str, ...]  # of names, with * and ? as in file names


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The comparison that sums a task up: the best dense baseline beside ours.

    Args:
        preset: Preset that the page shows first.
        baseline: Name of the strongest dense or published baseline.
        ours: Name of the model of this library.
        what: Words for the README's table that say what is measured.
        metric: Test metric (default: the task's first one).
        data: Data set (default: the preset's).
        labels: Values of labels, where several rows have the same model.
    """

    preset: str
    baseline: str
    ours: str
    what: str
    metric: str | None = None
    data: str | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim(Headline):
    """What a paper says of two models, for the records to confirm or not.

    `what` is the claim in a sentence, with its source: "`ours` is ahead of `baseline`" in words.

    Args:
        baseline_labels: Labels of the baseline's row, where they differ (default: `labels`).
        baseline_metric: Test metric of the baseline, where it is another one (default: `metric`).
        level: Boolean, whether the claim is that `ours` is as good: then level is enough.
    """

    level: bool = False
    baseline_labels: Mapping[str, Any] | None = None
    baseline_metric: str | None = None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A task's row of the matrix: a model of each family, on the same data.

    The models of a row have trainable parameters that differ by at most 5 %. All of them are in the
    presets `demo`, whose runs take seconds, and `quick`.

    Args:
        what: Words that say what is measured: "digits among clutter: accuracy".
        models: Models by family, where they have another name than their family. "recurrent" is
            the control of "dynamic": the same network with a plain recurrent layer.
        more: Further models, such as combinations of two families.
        chance: Gives the first metric of a network that learned nothing, from a configuration;
            None where that is not known.
    """

    what: str
    models: Mapping[str, str] = field(default_factory=dict)
    more: Patterns = ()
    chance: Callable[[dict[str, Any]], float | None] | None = None

    def model(self, family: str) -> str:
        """The model of a family."""
        return self.models.get(family, family)

    def all_models(self) -> tuple[str, ...]:
        """The models of the row, those of the families first."""
        return (*map(self.model, FAMILIES), *self.more)


@dataclass(frozen=True, kw_only=True)
class Display:
    """What is particular to a task's tables and chart.

    Args:
        headline: Row of the README's table, if the task has one there.
        claims: What papers say of the task's models, each told by the records on the task's page.
        matrix: The task's row of the matrix, if it has one.
        metric: Test metric that page and chart show first (default: the task's first one, by which
            epochs are chosen).
        families: Family and the models in it: "static", "dynamic", "sparse", "hypernetwork", or
            "bound" for limits that are no contenders. All other models are baselines.
        compared: Groups of models that do the same job, so that one can be the best of them
            (default: all models are one group).
        only: Metrics and the only models that can have them.
        no_parameters: Models that learn nothing, though their network has a placeholder weight.
        across: Label along the chart's horizontal axis (default: the chart has a line a row).
        panels: Labels that divide the chart into panels.
        reference: Value of that metric that the chart marks by a line.
    """

    headline: Headline | None = None
    claims: tuple[Claim, ...] = ()
    matrix: Matrix | None = None
    metric: str | None = None
    families: Mapping[str, Patterns] = field(default_factory=dict)
    compared: tuple[Patterns, ...] = (("*",),)
    only: Mapping[str, Patterns] = field(default_factory=dict)
    no_parameters: Patterns = ()
    across: str | None = None
    panels: Patterns = ()
    reference: float | None = None
