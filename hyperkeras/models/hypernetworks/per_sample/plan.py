"""Which of a target's layers run as one batched product, and which are mapped over the samples.

The target is traced twice, with two batch sizes and no values. For each call of a layer the trace
keeps the generated weights that it reads, and the shapes of its inputs and outputs: an axis whose
size follows the batch in both traces is the batch. See `scope` for the rule.
"""

import dataclasses
import threading
import weakref
from collections.abc import Iterable, Sequence, Set
from typing import Any

import keras
from keras import ops

from hyperkeras.models.hypernetworks.per_sample.interception import intercept, redirected
from hyperkeras.models.hypernetworks.variable_substitution import Substitution


@dataclasses.dataclass
class Mapping:
    """How a layer is mapped over the samples.

    Args:
        batched: Dict from the path of each tensor among the arguments to whether it has the
            batch axis; other tensors are the same for all samples.
        variables: Set of the ids of the generated variables that the layer reads.
    """

    batched: dict[Any, bool]
    variables: set[int]


@dataclasses.dataclass
class _Call:
    """A call of a layer in a trace."""

    layer: keras.layers.Layer
    parent: int | None
    inputs: dict[Any, tuple]
    outputs: list[tuple] = dataclasses.field(default_factory=list)
    read: set[int] = dataclasses.field(default_factory=set)


_plans: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def plan_calls(
    target: keras.layers.Layer,
    variables: Sequence[keras.Variable],
    native: Set[tuple[int, int]],
    x: Any,
    training: bool | None,
) -> dict[int, Mapping]:
    """The layers to map, as a dict from their ids to a `Mapping`.

    Args:
        target: Built Keras model.
        variables: The generated variables.
        native: Set of pairs of ids, of a layer that runs natively and of a variable that it reads
            then.
        x: The target's inputs: tensors, or KerasTensors of known shape.
        training: Boolean or None, the argument of the target's `call`.

    Raises:
        ValueError: A generated weight is used where no enclosing layer has the batch on the first
            axis of its inputs and outputs.
    """
    leaves = keras.tree.flatten_with_path(x)
    key = (
        tuple((path, *_signature(leaf)) for path, leaf in leaves),
        training,
        tuple(map(id, variables)),
        frozenset(native),
    )
    with _lock:
        plans = _plans.setdefault(target, {})
        plan = plans.get(key)
    if plan is None:
        size = next(leaf.shape[0] for _, leaf in leaves if hasattr(leaf, "shape"))
        # Unknown is None, or on JAX a symbol, whose multiples don't serve as sizes to tell apart.
        size = size if isinstance(size, int) and size > 0 else 16
        sizes = (2 * size, 3 * size)
        traces = [_trace(target, variables, x, training, size) for size in sizes]
        plan = _plan(traces, sizes, native)
        with _lock:
            plans[key] = plan
    return plan


def _signature(leaf):
    if not hasattr(leaf, "shape"):
        return (repr(leaf),)
    return tuple(leaf.shape[1:]), keras.backend.standardize_dtype(leaf.dtype)


class _Recorder(Substitution):
    """A scope without values that knows which call reads a variable."""

    def __init__(self, variables: Iterable[keras.Variable]) -> None:
        super().__init__([])
        self.generated = set(map(id, variables))
        self.calls: list[_Call] = []
        self.open: list[int] = []

    def get_current_value(self, variable):
        if id(variable) in self.generated and self.open:
            self.calls[self.open[-1]].read.add(id(variable))
        return super().get_current_value(variable)

    def record(self, layer, call, args, kwargs):
        parent = self.open[-1] if self.open else None
        entry = _Call(layer, parent, dict(_shapes((args, kwargs))))
        self.open.append(len(self.calls))
        self.calls.append(entry)
        try:
            outputs = call(*args, **kwargs)
        finally:
            self.open.pop()
        entry.outputs = [shape for _, shape in _shapes(outputs)]
        return outputs


class _Trace(keras.Operation):
    """An operation, so that Keras can run a function on shapes alone."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def call(self, x):
        self.function(x)
        return x


def _trace(target, variables, x, training, size):
    """The calls of the target's layers for a batch of `size`."""
    intercept(target)
    kwargs = {} if training is None else {"training": training}
    recorder = _Recorder(variables)

    def run(x):
        nonlocal recorder
        recorder = _Recorder(variables)  # PyTorch may begin again, on another device
        with recorder, redirected(recorder.record):
            target(x, **kwargs)

    def spec(leaf):
        return keras.KerasTensor((size, *leaf.shape[1:]), _signature(leaf)[1])

    def rows(leaf):
        return ops.concatenate([leaf[:1]] * size) if leaf.shape[0] != 0 else leaf

    try:
        _Trace(run).compute_output_spec(_map_tensors(spec, x))
    except Exception:  # a target that can't run on shapes alone, or not at all
        if any(isinstance(leaf, keras.KerasTensor) for leaf in keras.tree.flatten(x)):
            raise
        run(_map_tensors(rows, x))
    return recorder.calls


def _map_tensors(function, structure):
    return keras.tree.map_structure(
        lambda leaf: function(leaf) if hasattr(leaf, "shape") else leaf, structure
    )


def _shapes(structure):
    """The path and shape of each tensor."""
    for path, leaf in keras.tree.flatten_with_path(structure):
        if ops.is_tensor(leaf):
            yield path, tuple(leaf.shape)


def _plan(
    traces: list[list[_Call]], sizes: tuple[int, int], native: Set[tuple[int, int]]
) -> dict[int, Mapping]:
    """The smallest set of layers to map, from the calls of two traces."""
    if len(traces[0]) != len(traces[1]):  # the target's calls depend on the batch size
        traces, sizes = [traces[0]] * 2, (sizes[0], sizes[0])
    calls = list(zip(*traces, strict=True))
    plan: dict[int, Mapping] = {}
    count = None
    while count != len(plan):  # a layer that one call makes mapped is mapped in each call
        count = len(plan)
        _settle(calls, sizes, native, plan)
    return plan


def _settle(
    calls: list[tuple[_Call, _Call]],
    sizes: tuple[int, int],
    native: Set[tuple[int, int]],
    plan: dict[int, Mapping],
) -> None:
    """Adds to the `plan` what each call needs, those inside a layer before the layer's own."""
    unsettled: dict[int, list] = {}
    for i in reversed(range(len(calls))):
        call, again = calls[i]
        layer = id(call.layer)
        axes = {
            path: _has_batch(shape, again.inputs.get(path, ()), sizes)
            for path, shape in call.inputs.items()
        }
        shapes = zip(call.outputs, again.outputs, strict=True)
        outputs = [_has_batch(*pair, sizes) for pair in shapes]
        aligned = all(outputs) and None not in axes.values() and any(axes.values())
        culprits = unsettled.pop(i, [])
        own = {variable for variable in call.read if (layer, variable) in native}
        if call.read - own or (own and not (aligned and all(axes.values()))):
            culprits = [*culprits, call.layer]
        if not culprits and layer not in plan:
            continue
        if aligned and plan.setdefault(layer, Mapping(axes, set())).batched == axes:
            plan[layer].variables |= _read_within(calls, i)
        elif call.parent is None:
            raise ValueError(_refusal(culprits or [call.layer]))
        else:
            unsettled.setdefault(call.parent, []).extend(culprits or [call.layer])


def _has_batch(shape, again, sizes):
    """Whether the first axis is the batch; None where the batch is on another one."""
    if len(shape) != len(again):
        return None
    if shape and shape[0] in (sizes[0], None) and again[0] in (sizes[1], None):
        return True
    return False if shape == again else None


def _read_within(calls, i):
    """The generated variables that call i and those inside it read."""
    inside, read = {i}, set(calls[i][0].read)
    for j in range(i + 1, len(calls)):
        if calls[j][0].parent in inside:
            inside.add(j)
            read |= calls[j][0].read
    return read


def _refusal(culprits):
    names = sorted({f"'{layer.name}' ({type(layer).__name__})" for layer in culprits})
    return (
        "Expected each layer with generated weights, or a layer around it, to have the batch on "
        "the first axis of its inputs and outputs, since with `per_sample=True` its weights differ "
        "from sample to sample. Leave its weights out of `select`, or use it inside a layer whose "
        f"inputs have the batch axis. Received: {', '.join(names)}"
    )
