"""A hypernetwork that writes a LoRA adapter for each condition."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import keras
from keras import layers, ops

from hyperkeras.annotations import Config, Tensor
from hyperkeras.layers.heads.base_head import Head
from hyperkeras.models.adapters import adaptation, adapter_file
from hyperkeras.models.hypernetworks import conditions, lora, validation
from hyperkeras.models.hypernetworks.hypernetwork import Hypernetwork, check_head
from hyperkeras.ops.argument_validation import check_int, check_positive


@keras.saving.register_keras_serializable(package="hyperkeras")
class LoRAHypernetwork(Hypernetwork):
    r"""A hypernetwork that writes a low-rank adapter (LoRA) of a frozen model for each condition.

    .. math:: (A_l, B_l)_l = \mathrm{head}(\mathrm{body}(c)), \qquad
        y_l = x_l W_l + \frac{\alpha}{r}\, x_l A_l B_l

    for the adapted layers l with kernels W_l. The target is any Keras model, a backbone of KerasHub
    or a task with a backbone, such as a `CausalLM`. LoRA is enabled in the named layers; everything
    else of the target is frozen, biases and moving statistics too. Body and head are trained.

    **Start.** B starts at zero for every condition, so that the model gives what the target gives
    alone. A head with an `initializer` of its own, or a `RandomHead`, starts as that says.

    **Per sample** each layer runs its own call once and adds the adapter of each sample to it: no
    kernel is made for a sample.

    **Quantized targets.** Call the target's `quantize` first, then make the hypernetwork.

    Args:
        target: Built Keras model. A model serves one hypernetwork.
        body: Keras layer or model that maps a condition to features of any shape.
        rank: Integer r, the rank of each adapter (default 8).
        alpha: Number α, by which the adapter is scaled as α / r; None (default) for r.
        target_layer_names: Sequence of names or paths of layers to adapt: Dense, EinsumDense,
            Embedding or convolutional ones. None (default) for those that a KerasHub backbone names
            itself, else query and value of attention.
        head: Layer that maps features to the adapters' numbers, a `hyperkeras.layers.Head`; None
            (default) for `DenseHead()`. `LayerwiseHead()` shares a matrix between equal blocks.
        per_sample: Boolean, whether each sample has an adapter of its own (default `True`).
        **kwargs: `residual` of `Hypernetwork` (an adapter common to all conditions is trained
            beside), and arguments of `keras.Model`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: List `[condition, x]`; x is what the target takes, nested where it takes several.
        training: Boolean, whether the layers run in training mode.

    Input shape:
        `[b, ...]` for the condition and x. The condition may have one row without `per_sample`.

    Output shape:
        The target's.

    Parameters: the body's and the head's are trained. The target's count as not trainable.

    Example:

    ```python
    x = keras.Input((5, 8))
    y = keras.layers.MultiHeadAttention(2, 4)(x, x)
    target = keras.Model(x, keras.layers.Dense(3)(y))  # a trained model
    body = keras.Sequential([keras.Input((6,)), keras.layers.Dense(16, "gelu")])
    model = hyperkeras.models.LoRAHypernetwork(target, body, rank=2)
    model([keras.random.normal((4, 6)), keras.random.normal((4, 5, 8))]).shape  # (4, 5, 3)
    adapter = model.adapter(keras.random.normal((1, 6)))
    sorted(path.split("/")[-1] for path in adapter)  # ['query', 'value']
    ```

    References:
        - [Hu et al., 2021](https://arxiv.org/abs/2106.09685)
        - [Mahabadi et al., 2021](https://arxiv.org/abs/2106.04489)
        - [Charakorn et al., 2025](https://arxiv.org/abs/2506.06105)
    """

    def __init__(
        self,
        target: layers.Layer,
        body: layers.Layer,
        rank: int = 8,
        alpha: float | None = None,
        target_layer_names: Sequence[str] | None = None,
        head: Head | None = None,
        per_sample: bool = True,
        **kwargs: Any,
    ) -> None:
        rank = check_int("rank", rank, 1)
        scaled = rank if alpha is None else check_positive("alpha", alpha)
        names = adaptation.check_names(target_layer_names)
        if "select" in kwargs:
            raise TypeError(
                "LoRAHypernetwork takes no `select`; name the layers by `target_layer_names`. "
                f"Received: select={kwargs['select']!r}"
            )
        validation.check_networks(target, body)
        if head is not None:
            check_head(head)
        adapted = adaptation.chosen_layers(target, names)
        adaptation.enable(adapted, rank, scaled)
        adaptation.freeze_all_but(target, adapted)
        factors = [factor for layer in adapted for factor in lora.factors(layer) or ()]
        super().__init__(target, body, head=head, select=factors, per_sample=per_sample, **kwargs)
        self.rank = rank
        self.alpha = alpha
        self.target_layer_names = names

    @property
    def adapted_layers(self) -> list[layers.Layer]:
        """The target's layers whose adapters are generated, each once."""
        pieces = self.selection.pieces
        return list({id(generated.layer): generated.layer for generated in pieces}.values())

    def adapter(self, condition: Any) -> dict[str, tuple[Tensor, Tensor]]:
        """The adapter of one condition.

        Args:
            condition: Tensor of shape `[1, ...]`, or a nest of them.

        Returns:
            Dictionary from the path of each adapted layer to its pair of factors A and B. The
            layer's kernel with the adapter is `kernel + alpha / rank * A @ B`.
        """
        factors = self._factors(condition)
        named: dict[str, tuple[Tensor, Tensor]] = {}
        for layer in self.adapted_layers:
            name, count = layer.path, 1
            while name in named:
                count += 1
                name = f"{layer.path}#{count}"
            named[name] = factors[id(layer)]
        return named

    def save_adapter(self, path: str | PathLike, condition: Any) -> None:
        """Writes the adapter of one condition as a file that `load_lora_weights` of KerasHub reads.

        A backbone with the target's weights that loads it gives this model's outputs, without
        hyperkeras. With `target_layer_names`, call `backbone.enable_lora(rank, names)` before
        `backbone.load_lora_weights(path)`. The scale α / r is a part of B in the file.

        Args:
            path: File name that ends in `.lora.h5`.
            condition: Tensor of shape `[1, ...]`, or a nest of them.
        """
        path = adapter_file.check_path(path)
        factors = {
            layer: tuple(ops.convert_to_numpy(factor) for factor in pair)
            for layer, pair in self._factors(condition).items()
        }
        scale = (self.rank if self.alpha is None else self.alpha) / self.rank
        adapter_file.write(path, self.target, self.rank, scale, factors)

    def _factors(self, condition):
        """{id of a layer: (A, B)} of one condition."""
        condition = keras.tree.map_structure(ops.convert_to_tensor, condition)
        if conditions.count_rows(condition) != 1:
            raise ValueError(
                "Expected `condition` to have one row, for one adapter. Received: condition of "
                f"shape {conditions.shapes_of(condition)}"
            )
        made = zip(self.generated_weights, self.generate(condition), strict=True)
        values = {id(variable): value[0] for variable, value in made}
        return {
            id(layer): tuple(values[id(factor)] for factor in lora.factors(layer) or ())
            for layer in self.adapted_layers
        }

    def get_config(self) -> Config:
        config = super().get_config()
        del config["select"]  # follows from the names
        return {
            **config,
            "rank": self.rank,
            "alpha": self.alpha,
            "target_layer_names": self.target_layer_names,
        }
