"""What the recurrent layers with a fast path share: when it is taken, and what goes in and out."""

import keras
from keras import ops

from hyperkeras.layers.rnn.base_rnn import Recurrent


class FastRecurrent(Recurrent):
    """A recurrent layer that may take whole sequences at once. Subclasses bring `fast_loop`."""

    def __init__(self, cell, use_xla=True, **kwargs):
        super().__init__(cell, **kwargs)
        self.use_xla = bool(use_xla)

    def takes_fast_path(self, steps):
        """Whether the recurrence is compiled by XLA, here on TensorFlow in full precision."""
        return (
            self.use_xla
            and not self.unroll
            and keras.backend.backend() == "tensorflow"
            and self.cell.activation is keras.activations.tanh
            and self.cell.recurrent_activation is keras.activations.sigmoid
            and self.compute_dtype in ("float32", "float64")
            and steps != 0
        )

    def loop(self, sequences, initial_state, mask, noise, training):
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
        outputs, states = self.fast_loop(given.pop("x"), initial_state, given, training)
        if mask is not None:  # before the first step that counts, Keras gives zeros
            shown = given["mask"]
            if not self.zero_output_for_mask:
                shown = ops.cumsum(ops.cast(shown, "int32"), axis=0) > 0
            outputs = ops.where(shown, outputs, ops.zeros_like(outputs))
        return outputs[-1], ops.swapaxes(outputs, 0, 1), states

    def get_config(self):
        return {**super().get_config(), "use_xla": self.use_xla}


def lstm_weights(cell):
    """Of a `LayerNormLSTMCell`, as the fast paths take them."""
    bias = ops.zeros((4 * cell.units,), cell.compute_dtype) if cell.bias is None else cell.bias
    weights = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel, "bias": bias}
    return weights if cell.norm is None else {**weights, "norm": cell.norm}
