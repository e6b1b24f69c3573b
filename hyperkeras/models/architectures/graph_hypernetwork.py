"""A hypernetwork that makes weights for architectures it reads as graphs."""

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hyperkeras.annotations import Config, Tensor
from hyperkeras.keras_internals import state_variables
from hyperkeras.layers.architectures.matrix_decoder import MatrixDecoder
from hyperkeras.models.architectures import target_calls
from hyperkeras.models.architectures.computation_graph import ComputationGraph, computation_graph
from hyperkeras.models.architectures.graph_encoding import (
    GraphEncoding,
    kind_index,
    padded_arrays,
)
from hyperkeras.models.architectures.target_calls import Recipe
from hyperkeras.models.hypernetworks.weight_selection import Selector
from hyperkeras.ops.architectures.weight_shapes import scale_by_fan_in, scale_by_norm
from hyperkeras.ops.argument_validation import check_choice, check_int, check_layer, invalid_value

KINDS = (
    *("Input", "Repeated"),
    *(f"{layer}/{name}" for layer in ("Dense", "EinsumDense") for name in ("kernel", "bias")),
    *(f"Conv{dims}D/{name}" for dims in (1, 2) for name in ("kernel", "bias")),
    *(f"DepthwiseConv{dims}D/{name}" for dims in (1, 2) for name in ("kernel", "bias")),
    *(f"{layer}Normalization/{n}" for layer in ("Layer", "Batch") for n in ("gamma", "beta")),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Concatenate"),
    *("Flatten", "Reshape", "Dropout", "Rescaling"),
    *(f"{name}Pooling{dims}D" for name in ("Max", "Average") for dims in (1, 2)),
    *(f"Global{name}Pooling{dims}D" for name in ("Max", "Average") for dims in (1, 2)),
    *("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "selu", "softmax", "leakyrelu"),
)
NORMALIZERS: dict[str | None, Callable[..., Tensor]] = {
    "fan_in": scale_by_fan_in,
    "frobenius": scale_by_norm,
    None: lambda weight, role, fan_in: weight,
}
Targets = Sequence[keras.Model] | Callable[[], keras.Model]


@keras.saving.register_keras_serializable(package="hyperkeras")
class GraphHypernetwork(keras.Model):
    r"""A hypernetwork that reads an architecture as a graph and makes its weights.

    .. math:: h = \mathrm{encoder}(E(\mathrm{graph})), \qquad w_v = \mathrm{normalize}(
       \mathrm{decoder}(h_v))

    for each node v that is a weight. It owns no target: one hypernetwork makes weights for any
    Functional or Sequential model, those that it was trained on and others, in one pass.

    `generate` gives the weights as tensors, `apply` runs a model with them, and `assign` writes
    them into it. `fit` trains on a set of models or on a function that draws one: in each step
    `meta_batch_size` of them classify the batch, and their losses are averaged.

    **What is generated.** All trainable weights of a target, or those that `select` chooses; the
    others stay the target's own and are not trained here. Moving statistics are not made either:
    build targets with LayerNormalization, or set the statistics afterwards by calling the model
    on data with `training=True`.

    **Systems.** With a `GatedGraphEncoder` and a `MatrixDecoder` this is GHN-2; with
    `virtual_edges=None`, `normalize=False` and no normalization of weights GHN-1; for chains of
    dense layers the network of HyperPPO; with a `FlatEncoder` an architecture is a flat code, as in
    SMASH; without an encoder each node knows only itself.

    Args:
        encoder: Layer called on nodes `[g, n, d]` and lengths of shortest paths `[g, n, n]` that
            returns `[g, n, d]`, such as `GatedGraphEncoder`; None for no encoder.
        decoder: Layer with methods `tiles(features, pieces)` and `fit(tile, piece)`, as
            `MatrixDecoder` has them; None (default) for `MatrixDecoder()`.
        kinds: Sequence of strings, the kinds of node that it knows (default: those of common
            layers). `"unknown"` among them stands for all others; without it others are an error.
        normalize: How weights are scaled: `"fan_in"` (default), `"frobenius"` (kernels have a norm
            of 1), or None.
        select: Which weights of a target are generated, as for `Hypernetwork`: None (default) for
            all trainable ones; a function, name or sequence of names.
        units: Integer d, a multiple of 4; None (default) for the encoder's, or 32.
        seed: Integer or None, for the draw of architectures and for dropout in targets.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: What the targets take. Only `fit`, `evaluate` and their like call the model; use
            `apply` otherwise.

    Example:

    ```python
    def mlp(*widths):
        hidden = [keras.layers.Dense(width, "relu") for width in widths]
        return keras.Sequential([keras.Input((8,)), *hidden, keras.layers.Dense(3)])

    ghn = hyperkeras.models.GraphHypernetwork(
        hyperkeras.layers.GatedGraphEncoder(16), hyperkeras.layers.MatrixDecoder((16, 16)))
    ghn.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.random.normal(size=(64, 8)), np.random.randint(0, 3, 64)
    history = ghn.fit(x, y, targets=[mlp(4), mlp(8), mlp(8, 8)], meta_batch_size=2, verbose=0)
    unseen = mlp(12, 6)
    ghn.apply(unseen, x).shape  # (64, 3)
    ghn.assign(unseen)  # a plain Keras model with these weights
    ```

    References:
        - [Zhang et al., 2019](https://arxiv.org/abs/1810.05749)
        - [Knyazev et al., 2021](https://arxiv.org/abs/2110.13100)
        - [Brock et al., 2017](https://arxiv.org/abs/1708.05344)
        - [Hegde et al., 2023](https://arxiv.org/abs/2309.16663)
    """

    def __init__(
        self,
        encoder: layers.Layer | None = None,
        decoder: layers.Layer | None = None,
        kinds: Sequence[str] | None = None,
        normalize: str | None = "fan_in",
        select: Selector = None,
        units: int | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if encoder is not None:
            check_layer("encoder", encoder)
        decoder = MatrixDecoder() if decoder is None else check_layer("decoder", decoder)
        if not (hasattr(decoder, "tiles") and hasattr(decoder, "fit")):
            raise invalid_value("decoder", "a layer with methods `tiles` and `fit`", decoder)
        self.units = check_int(
            "units", getattr(encoder, "units", 32) if units is None else units, 4
        )
        if self.units % 4:
            raise invalid_value("units", "a multiple of 4", self.units)
        self.kinds = KINDS if kinds is None else tuple(kinds)
        self.normalize = check_choice("normalize", normalize, NORMALIZERS)
        self.select = select
        self.seed = seed
        self.encoding = GraphEncoding(len(self.kinds), self.units, encoder, name="encoding")
        self.decoder = decoder
        self.dropout_seeds = keras.random.SeedGenerator(seed)
        self._graphs: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
        self._active: _Active | None = None
        self.supports_jit = False

    @property
    def encoder(self) -> layers.Layer | None:
        """The layer that reads the graph, or None."""
        return self.encoding.encoder

    def build(self, input_shape: Any = None) -> None:
        if not self.encoding.built:
            self.encoding.build(None)
        if not self.decoder.built:
            self.decoder.build((None, self.units))
        super().build(input_shape)

    def generate(self, target: keras.Model) -> list[Tensor]:
        """Weights for an architecture.

        Args:
            target: Built Functional or Sequential model.

        Returns:
            List of tensors in the order of `computation_graph(target).weights`, those that are not
            None.
        """
        pieces = [piece for piece in self._graph(target)[0].pieces if piece is not None]
        (tiles,) = self._tiles([target])
        recipe = self._recipe
        return [recipe.weight(tile, piece) for tile, piece in zip(tiles, pieces, strict=True)]

    def apply(self, target: keras.Model, x: Any, training: bool = False) -> Any:
        """The target's outputs with generated weights. Gradients reach the hypernetwork.

        Args:
            target: Built Functional or Sequential model. Its own weights stay as they are.
            x: The target's input.
            training: Boolean, whether the target's layers run in training mode (default `False`).
                Moving statistics are not updated.

        Returns:
            What the target returns.
        """
        return self._apply(target, self._tiles([target])[0], x, training)[0]

    def assign(self, target: keras.Model) -> None:
        """Writes generated weights into an architecture, which then is an ordinary model.

        Args:
            target: Built Functional or Sequential model.
        """
        for variable, value in zip(self._weights(target), self.generate(target), strict=True):
            variable.assign(value)

    @property
    def run_eagerly(self) -> bool:
        """True: each step is of other architectures.

        The encoder, and each architecture by itself, are compiled on TensorFlow and JAX, and on
        TensorFlow the optimizer's step. Several hypernetworks share what is compiled for an
        architecture.
        """
        return True

    @run_eagerly.setter
    def run_eagerly(self, value: bool) -> None:
        pass

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        targets: Targets | None = None,
        meta_batch_size: int = 8,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the hypernetwork on architectures.

        Args:
            x: Inputs, or a dataset, as for `fit` of `keras.Model`.
            y: Labels.
            targets: Sequence of built models, or a function without arguments that returns one.
            meta_batch_size: Integer, how many architectures see each batch (default 8).
            **kwargs: Arguments of `fit` of `keras.Model`. Validation data is seen by the first
                `meta_batch_size` targets.

        Returns:
            A `History`. Losses and metrics are means over architectures.
        """
        count = check_int("meta_batch_size", meta_batch_size, 1)
        with self._using(targets, count), self._compiled_updates():
            return super().fit(x, y, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, targets: Any = None, **kwargs: Any) -> Any:
        """As `evaluate` of `keras.Model`, means over the architectures `targets`."""
        if self._active is not None:  # validation within fit
            return super().evaluate(x, y, **kwargs)
        with self._using(targets, None):
            return super().evaluate(x, y, **kwargs)

    def scores(
        self, targets: Sequence[keras.Model], x: Any, y: Any, batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """Loss and metrics of each architecture with generated weights.

        Args:
            targets: Sequence of built models.
            x: Inputs.
            y: Labels.
            batch_size: Integer or None, as for `evaluate`.

        Returns:
            {name of the loss or metric: array with a number for each target}.
        """
        rows = [
            self.evaluate(x, y, [target], batch_size=batch_size, verbose=0, return_dict=True)
            for target in targets
        ]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self._active is None:
            raise ValueError(
                f"Expected '{self.name}' to be called by `fit` or `evaluate` with `targets`. Use "
                "`apply(target, x)` to run one architecture"
            )
        targets = self._active.drawn() if training else self._active.fixed
        outputs = []
        for target, tiles in zip(targets, self._tiles(targets), strict=True):
            output, losses = self._apply(target, tiles, inputs, bool(training))
            outputs.append(output)
            for loss in losses:
                self.add_loss(loss / len(targets))
        return keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=0), *outputs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        y, sample_weight = _repeated(y, y_pred), _repeated(sample_weight, y_pred)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        y, sample_weight = _repeated(y, y_pred), _repeated(sample_weight, y_pred)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _graph(self, target: keras.Model) -> tuple[ComputationGraph, dict[str, int]]:
        if target not in self._graphs:
            graph = computation_graph(target, self.select)
            self._graphs[target] = (graph, kind_index(self.kinds, graph, target.name))
        return self._graphs[target]

    def _weights(self, target):
        return [weight for weight in self._graph(target)[0].weights if weight is not None]

    @property
    def _recipe(self):
        return Recipe(self.decoder.fit, NORMALIZERS[self.normalize])

    def _tiles(self, targets):
        """What the decoder makes for each target, a list for each."""
        if not self.built:
            self.build(None)
        graphs, indices = zip(*(self._graph(target) for target in targets), strict=True)
        index = {kind: number for each in indices for kind, number in each.items()}
        padded = padded_arrays(graphs, index, getattr(self.encoder, "max_nodes", None))
        arrays = [ops.convert_to_tensor(array) for array in padded]
        values = [variable.value for variable in self.encoding.variables]
        nodes, _ = target_calls.call(self.encoding, values, arrays, False)  # [g, n, d]
        flat = ops.reshape(nodes, (-1, self.units))
        rows, pieces = [], []
        for g, graph in enumerate(graphs):
            at = [v for v, piece in enumerate(graph.pieces) if piece is not None]
            rows += [g * nodes.shape[1] + v for v in at]
            pieces += [graph.pieces[v] for v in at]
        made = iter(self.decoder.tiles(ops.take(flat, rows, axis=0), pieces))
        return [[next(made) for piece in graph.pieces if piece is not None] for graph in graphs]

    def _apply(self, target, tiles, x, training):
        """The target's outputs and the losses it adds."""
        graph = self._graph(target)[0]
        pieces = {id(w): p for w, p in zip(graph.weights, graph.pieces, strict=True) if p}
        given = {id(v): tile for v, tile in zip(self._weights(target), tiles, strict=True)}
        if training:
            # Seeds of its layers can't be updated in compiled code, so each call gets new ones.
            for variable in state_variables(target):
                if variable.name == "seed_generator_state":
                    given[id(variable)] = self.dropout_seeds.next()
        variables = target.variables
        # Not the variables themselves: TensorFlow's compiled functions read those as constants.
        values = [given[id(v)] if id(v) in given else v.value for v in variables]
        described = [pieces.get(id(v)) for v in variables]
        return target_calls.call(target, values, x, training, self._recipe, described)

    @contextlib.contextmanager
    def _using(self, targets: Any, meta_batch_size: int | None) -> Iterator[None]:
        if targets is None or (not callable(targets) and not len(targets)):
            raise invalid_value(
                "targets", "a sequence of built models, or a function that returns one", targets
            )
        if not self.built:
            self.build(None)
        self._active = _Active(targets, meta_batch_size, self.seed)
        try:
            yield
        finally:
            self._active = None

    def _compiled_updates(self) -> contextlib.AbstractContextManager:
        module = target_calls.backend_module()
        if self.optimizer is None or not hasattr(module, "compiled_updates"):
            return contextlib.nullcontext()
        return module.compiled_updates(self.optimizer, self.trainable_variables)

    def get_config(self) -> Config:
        select = self.select
        return {
            **super().get_config(),
            "encoder": _serialized(self.encoder),
            "decoder": _serialized(self.decoder),
            "kinds": list(self.kinds),
            "normalize": self.normalize,
            "select": _serialized(select) if callable(select) else select,
            "units": self.units,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Config) -> "GraphHypernetwork":
        config = dict(config)
        for name in ("encoder", "decoder", "select"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


class _Active:
    """The architectures that `fit` or `evaluate` works on, hidden from Keras's tracking."""

    def __init__(self, targets, meta_batch_size, seed):
        self.targets, self.count = targets, meta_batch_size
        self.generator = np.random.default_rng(seed)
        self.fixed = self.drawn() if callable(targets) else list(targets)[:meta_batch_size]

    def drawn(self):
        """The next architectures."""
        if callable(self.targets):
            return [self.targets() for _ in range(self.count or 1)]
        count = min(self.count or len(self.targets), len(self.targets))
        order = self.generator.permutation(len(self.targets))[:count]
        return [self.targets[i] for i in order]


def _repeated(values, outputs):
    """Labels or weights of a batch, once for each architecture whose outputs are in a row."""
    if values is None:
        return None
    rows = keras.tree.flatten(outputs)[0].shape[0]

    def repeat(value):
        return ops.tile(value, (rows // value.shape[0], *(1,) * (len(value.shape) - 1)))

    return keras.tree.map_structure(repeat, values)


def _serialized(part):
    return None if part is None else keras.saving.serialize_keras_object(part)
