"""A layer run sample by sample, each with weights of its own."""

import weakref
from typing import Any

import keras
from keras import layers, ops

from hyperkeras.keras_internals import mask_of, set_mask
from hyperkeras.models.hypernetworks.per_sample.interception import plainly, redirected
from hyperkeras.models.hypernetworks.variable_substitution import Substitution, any_layout

# Distance of the seeds of two samples.
SEED_STRIDE = 1_000_003

# Layers that the backend can't vectorize.
_looped: weakref.WeakSet = weakref.WeakSet()


def map_over_samples(
    layer: layers.Layer, call: Any, variables: list, batched: dict, args: Any, kwargs: Any
) -> Any:
    """`call(*args, **kwargs)` for each sample by itself, in a batch of one.

    Args:
        layer: The layer that is mapped.
        call: Its own `call`.
        variables: The generated variables that it reads, each with a value `[b, *shape]`.
        batched: Dict from the path of a tensor in `(args, kwargs)` to whether it has the batch
            axis. A tensor that is not in it has, if its first axis is as long as the batch.
        args: Positional arguments of `call`.
        kwargs: Keyword arguments of `call`.

    Returns:
        What `call` returns, with the batch on the first axis of each tensor.
    """
    values = [variable.value for variable in variables]
    size = ops.shape(values[0])[0]
    leaves = keras.tree.flatten_with_path((args, kwargs))
    places = [
        i
        for i, (path, leaf) in enumerate(leaves)
        if ops.is_tensor(leaf) and batched.get(path, _is_batch(leaf, size))
    ]
    masks = {i: mask_of(leaves[i][1]) for i in places}
    seeds = [v for v in layer.variables if v.name == "seed_generator_state"]
    starts = [_seeds_of_samples(seed.value, size) for seed in seeds]
    elements = {
        "inputs": [ops.convert_to_tensor(leaves[i][1]) for i in places],
        "masks": [mask for mask in masks.values() if mask is not None],
        "weights": values,
        "seeds": starts,
    }
    form: dict = {}

    def one_sample(row):
        watch = _operations(row)
        sample = [leaf for _, leaf in leaves]
        masked = iter(row["masks"])
        for i, leaf in zip(places, row["inputs"], strict=True):
            sample[i] = leaf[None]
            if masks[i] is not None:
                sample[i] = set_mask(sample[i], next(masked)[None])
        args_, kwargs_ = keras.tree.pack_sequence_as((args, kwargs), sample)
        pairs = [*zip(variables, row["weights"], strict=True)]
        pairs += zip(seeds, row["seeds"], strict=True)
        with Substitution(pairs) as scope, redirected(plainly), any_layout():
            outputs = call(*args_, **kwargs_)
            flat = keras.tree.flatten(outputs)
            output_masks = [mask_of(leaf) if ops.is_tensor(leaf) else None for leaf in flat]
        _check_updates(layer, scope, seeds)
        if _has_custom_gradient(row, watch):
            _looped.add(layer)
        form.update(outputs=outputs, masked=[mask is not None for mask in output_masks])
        form.update(drawn=[id(seed) in scope.updated for seed in seeds])
        return {
            "outputs": [leaf[0] for leaf in flat if ops.is_tensor(leaf)],
            "masks": [mask[0] for mask in output_masks if mask is not None],
            "losses": list(scope.losses),
            "seeds": [scope.get_current_value(seed) for seed in seeds],
        }

    results = _map(layer, one_sample, elements, size)
    for seed, start, end, drawn in zip(seeds, starts, results["seeds"], form["drawn"], strict=True):
        if drawn and size != 0:
            seed.assign(end[0] + (seed.value - start[0]))
    for loss in results["losses"]:
        layer.add_loss(ops.mean(loss))
    return _packed(form, results)


def _is_batch(leaf, size):
    return len(leaf.shape) > 0 and (leaf.shape[0] == size or leaf.shape[0] is None)


def _seeds_of_samples(state, size):
    """The state [2] of a seed generator, for each sample: [size, 2]."""
    shift = SEED_STRIDE * ops.arange(size, dtype=state.dtype)
    return state + ops.stack([shift, ops.zeros_like(shift)], axis=-1)


def _check_updates(layer, scope, seeds):
    known = {id(seed) for seed in seeds}
    paths = [variable.path for variable, _ in scope.updated.values() if id(variable) not in known]
    if paths:
        raise ValueError(
            f"Expected layer '{layer.name}' to update no state in `call`: it is a "
            f"{type(layer).__name__}, which runs sample by sample. Leave the weights of it and of "
            f"the layers inside it out of `select`. Received: updates of {paths}"
        )


def _map(layer, function, elements, size):
    if isinstance(size, int) and size == 0:
        return _map_nothing(function, elements)
    if layer in _looped:
        return _loop(function, elements, size)
    try:
        results = ops.vectorized_map(function, elements)
    except RuntimeError:
        # PyTorch can't vectorize random numbers and some operations, and says so by this error.
        if keras.backend.backend() != "torch":
            raise
        results = _loop(function, elements, size)
        _looped.add(layer)
        return results
    return _loop(function, elements, size) if layer in _looped else results


def _loop(function, elements, size):
    if keras.backend.backend() == "tensorflow":
        return ops.map(function, elements)
    rows = [function(keras.tree.map_structure(lambda a, i=i: a[i], elements)) for i in range(size)]
    return keras.tree.map_structure(lambda *parts: ops.stack(parts), *rows)


def _operations(row):
    """How many operations TensorFlow's graph has so far."""
    graph = _graph(row)
    return 0 if graph is None else len(graph.get_operations())


def _has_custom_gradient(row, count):
    """Whether the graph of a sample, past its first `count` operations, has a gradient of its own.

    TensorFlow's vectorized map would lose it, without an error.
    """
    graph = _graph(row)
    if graph is None:
        return False
    nodes = [operation.node_def for operation in graph.get_operations()[count:]]
    library = graph.as_graph_def().library.function
    nodes += [node for function in library for node in function.node_def]
    return any("_gradient_op_type" in node.attr for node in nodes)


def _graph(row):
    if keras.backend.backend() != "tensorflow":
        return None
    tensor = row["weights"][0]
    return None if hasattr(tensor, "numpy") else tensor.graph


def _map_nothing(function, elements):
    """The results for an empty batch, from one row of zeros: no backend maps over no rows."""
    zeros = keras.tree.map_structure(
        lambda a: ops.zeros((1, *a.shape[1:]), keras.backend.standardize_dtype(a.dtype)), elements
    )
    results = ops.vectorized_map(function, zeros)
    return keras.tree.map_structure(lambda a: a[:0], results) | {"losses": []}


def _packed(form, results):
    tensors, masks = iter(results["outputs"]), iter(results["masks"])
    flat = []
    for leaf, masked in zip(keras.tree.flatten(form["outputs"]), form["masked"], strict=True):
        value = next(tensors) if ops.is_tensor(leaf) else leaf
        flat.append(set_mask(value, next(masks)) if masked else value)
    return keras.tree.pack_sequence_as(form["outputs"], flat)
