"""Base class of the recurrent layers with a fast path: when it is taken, what goes in and out."""

from typing import Any

import keras
from keras import ops

from hyperkeras.annotations import Config, Tensor
from hyperkeras.keras_internals import is_exporting
from hyperkeras.layers.rnn.base_rnn import Recurrent
from hyperkeras.layers.rnn.base_rnn_cell import RecurrentCell


class FastRecurrent(Recurrent):
    """Base class of the recurrent layers that may take whole sequences at once.

    Subclasses bring `fast_loop`.

    Args:
        cell: A `RecurrentCell`.
        use_xla: Boolean, whether the fast path may be taken (default `True`).
        **kwargs: Arguments of `Recurrent`.
    """

    def __init__(self, cell: RecurrentCell, use_xla: bool = True, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        self.use_xla = bool(use_xla)
        if keras.backend.backend() == "tensorflow" and self.takes_fast_path(None):
            # Within a model that XLA compiles, the recurrence is compiled anew for each length.
            self.supports_jit = False

    def takes_fast_path(self, steps: int | None) -> bool:
        """Whether the recurrence takes the fast path, in full precision."""
        if not (
            self.use_xla
            and not self.unroll
            and keras.backend.backend() in ("tensorflow", "jax", "torch")
            and self.cell.activation is keras.activations.tanh
            and self.has_known_gates()
            and self.compute_dtype in ("float32", "float64")
            and steps != 0
        ):
            return False
        return can_compile() and not is_exporting()

    def has_known_gates(self) -> bool:
        """Whether the fast path knows what the cell does beside its activation."""
        return True

    def loop(
        self,
        sequences: Tensor,
        initial_state: Any,
        mask: Tensor | None,
        noise: Tensor | None,
        training: bool,
    ) -> tuple[Any, ...]:
        if not self.takes_fast_path(sequences.shape[1]):
            return super().loop(sequences, initial_state, mask, noise, training)
        given = {"x": sequences}
        if mask is not None:
            given["mask"] = ops.cast(mask, "bool")[..., None]
        if noise is not None:
            n = self.cell.units
            given["noise"] = noise[..., :n]
            if noise.shape[-1] > n:
                given["hyper_noise"] = noise[..., n:]
        for name, x in given.items():
            given[name] = ops.swapaxes(ops.flip(x, axis=1) if self.go_backwards else x, 0, 1)
        if self.stateful:  # PyTorch overwrites the variables, which gradients still need
            initial_state = [ops.copy(state) for state in initial_state]
        outputs, states = self.fast_loop(given.pop("x"), initial_state, given, training)
        # Before the first step that counts, Keras gives zeros, but on JAX the first state.
        zeros = self.zero_output_for_mask or keras.backend.backend() != "jax"
        if mask is not None and zeros:
            shown = given["mask"]
            if not self.zero_output_for_mask:
                shown = ops.cumsum(ops.cast(shown, "int32"), axis=0) > 0
            outputs = ops.where(shown, outputs, ops.zeros_like(outputs))
        return outputs[-1], ops.swapaxes(outputs, 0, 1), states

    def get_config(self) -> Config:
        return {**super().get_config(), "use_xla": self.use_xla}


def can_compile() -> bool:
    """Whether the backend can compile a whole sequence now."""
    if keras.backend.backend() != "tensorflow":
        return True
    from hyperkeras.ops.rnn.on_tensorflow import chunked_loop_tensorflow

    return chunked_loop_tensorflow.can_compile()
