"""What a task is: its names and settings, and the functions that the harness calls.

A task is a module or package in `reproductions/tasks/` with a `TASK`, an instance of `Task`. Its
name is that of the module. The functions are called hooks; each has one signature, which a class
of this file gives, and those a task leaves out have a default.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reproductions.engine.display import Display
from reproductions.engine.tuning.space import Search

Config = dict[str, Any]
Record = dict[str, Any]  # of a run, or what is known of it before: `records.KEYS` has its keys
Metrics = Mapping[str, float | None]
# Keys of a preset that are not part of a run's configuration.
NOT_CONFIGURATION = ("models", "data", "seeds", "more_seeds", "study")


class Data(Protocol):
    """Training batches, and what is for validation and for the test: pairs `(x, y)` of arrays."""

    valid: Any
    test: Any

    def train(self, seed: int, epoch: int) -> Iterable:
        """An epoch's batches `(x, y)`, which depend on nothing but seed and epoch."""


class Configurations(Protocol):
    """The configurations to run for a model; by default one, the preset's settings."""

    def __call__(self, model: str, preset: str, data: str) -> list[Config]: ...


class LoadData(Protocol):
    """The data set `name`; raises `DataError` where its files are missing."""

    def __call__(self, name: str, config: Config, data_dir: Path | None) -> Data: ...


class Build(Protocol):
    """A built and compiled Keras model.

    Keras's global seed is set before, so layers without a seed of their own follow it. Where the
    optimizer has `use_ema`, the weights' averages over the steps are validated and tested, and
    training goes on from the weights themselves.
    """

    def __call__(self, model: str, config: Config, data: Data) -> Any: ...


class Evaluate(Protocol):
    """Metrics of validation or test data; by default those that Keras's `evaluate` gives."""

    def __call__(self, network: Any, x: Any, y: Any, config: Config) -> Metrics: ...


class BeforeEpoch(Protocol):
    """A schedule, called before each epoch (the first is 0); by default there is none."""

    def __call__(self, network: Any, epoch: int, config: Config) -> None: ...


class Stop(Protocol):
    """Whether an epoch's validation metrics end the training; by default they never do."""

    def __call__(self, metrics: Metrics) -> bool: ...


class Generated(Protocol):
    """How many weights the network generates for a sample; by default none."""

    def __call__(self, network: Any) -> int: ...


class Transfer(Protocol):
    """More test metrics, of other data than the task's; None for what a model cannot have.

    Texts say how a metric was computed, such as BLEU's signature.
    """

    def __call__(
        self, network: Any, model: str, data: Data, config: Config
    ) -> Mapping[str, float | str | None]: ...


class Trace(Protocol):
    """Nested lists to keep after each epoch of seed 0, or None; `draw` gets all of them."""

    def __call__(self, network: Any, data: Data, config: Config) -> list | None: ...


class Draw(Protocol):
    """Draw a small picture of seed 0's chosen weights; by default none is drawn."""

    def __call__(
        self, network: Any, data: Data, config: Config, path: Path, traces: list
    ) -> None: ...


class Pages(Protocol):
    """Write HTML pages from what `draw` left in a preset's folder; their paths. None by default."""

    def __call__(self, folder: Path) -> list[Path]: ...


class Plot(Protocol):
    """Draw a picture of a preset's finished records; by default learning curves."""

    def __call__(self, records: list[dict], path: Path) -> None: ...


class Measure(Protocol):
    """A run's "metrics" and "parameters", for what Keras's `fit` does not train.

    Takes the place of `build` and of the training. `data` is None where the task has none.
    """

    def __call__(self, model: str, config: Config, seed: int, data: Any) -> dict: ...


def evaluate_with_keras(network: Any, x: Any, y: Any, config: Config) -> Metrics:
    return network.evaluate(x, y, batch_size=250, verbose=0, return_dict=True)


def no_schedule(network: Any, epoch: int, config: Config) -> None:
    pass


def never(metrics: Metrics) -> bool:
    return False


def nothing_generated(network: Any) -> int:
    return 0


def no_transfer(network: Any, model: str, data: Data, config: Config) -> Metrics:
    return {}


def no_trace(network: Any, data: Data, config: Config) -> None:
    pass


def no_picture(network: Any, data: Data, config: Config, path: Path, traces: list) -> None:
    pass


def no_pages(folder: Path) -> list[Path]:
    return []


@dataclass(kw_only=True)
class Task:
    """An experiment: models that are compared on the same data.

    Args:
        name: Name of the module in `reproductions/tasks/`.
        about: Text for the results; its first line says what is compared.
        models: Names of all models.
        metrics: Metrics and whether they are best at their "max" or "min". The first one chooses
            the weights and is the headline.
        data_sets: Names of the data sets, and what each is.
        presets: Settings of "smoke", "demo", "quick" and "full": `data`, `seeds`, `epochs`, `steps`
            (batches an epoch), `models` where not all belong to the preset, `more_seeds` (model:
            how many) where some have more of them, `study` (the preset whose trials the settings
            come from) where `tune` chose them, and the task's own.
        published: Others' figures: `model`, `metric`, `value` and `source`, and where it applies
            `preset` (else "full"), `data`, `notes` (numbers of deviations) and labels.
        deviations: Texts on how set-ups differ, numbered from 1.
        labels: Keys of the configuration that tell runs apart in tables and file names.
        timed: Whether `metrics.valid` also has what each epoch took, evaluation included:
            `seconds`, and `processor_seconds`, which count all threads and no other process.
        search: Search spaces for `tune`: by patterns of models' names, the keys of their
            configurations with a `Range`, or with a tuple of choices.
        display: How the results are shown.
        configurations, data, build, evaluate, before_epoch, stop, generated, transfer, trace,
            draw, pages, plot, measure: The hooks. A task has `data` and `build`, or `measure`.
    """

    name: str
    about: str
    models: tuple[str, ...]
    metrics: dict[str, str]
    data_sets: dict[str, str]
    presets: dict[str, Config]
    published: tuple[dict, ...] = ()
    deviations: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    timed: bool = False
    search: Search = field(default_factory=dict)
    display: Display = field(default_factory=Display)
    configurations: Configurations | None = None
    data: LoadData | None = None
    build: Build | None = None
    evaluate: Evaluate = evaluate_with_keras
    before_epoch: BeforeEpoch = no_schedule
    stop: Stop = never
    generated: Generated = nothing_generated
    transfer: Transfer = no_transfer
    trace: Trace = no_trace
    draw: Draw = no_picture
    pages: Pages = no_pages
    plot: Plot | None = None
    measure: Measure | None = None

    def settings(
        self, model: str, preset: str, data: str, epochs: int | None = None
    ) -> list[Config]:
        """The configurations that are run for a model, as a record gives them back."""
        if self.configurations is None:
            asked = [self.presets[preset]]
        else:
            asked = self.configurations(model, preset, data)
        override = {} if epochs is None else {"epochs": epochs}
        kept = [
            {key: value for key, value in config.items() if key not in NOT_CONFIGURATION} | override
            for config in asked
        ]
        return json.loads(json.dumps(kept))  # tuples become lists

    @property
    def shown(self) -> tuple[str, str]:
        """The metric that page and chart show first, and whether its "max" or "min" is best."""
        metric = self.display.metric or next(iter(self.metrics))
        return metric, self.metrics[metric]

    def models_of(self, preset: str) -> tuple[str, ...]:
        """The models of a preset."""
        return tuple(self.presets[preset].get("models", self.models))

    def seeds_of(self, model: str, preset: str) -> int:
        """The number of seeds of a model."""
        settings = self.presets[preset]
        return settings.get("more_seeds", {}).get(model, settings["seeds"])

    def label_values(self, config: Config) -> Config:
        """The part of a configuration that tells it apart from the task's others."""
        return {name: config[name] for name in self.labels if name in config}
