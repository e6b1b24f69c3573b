"""Base class of the recurrent layers around a `LayerNormLSTMCell`."""

from typing import Any

import keras
from keras import ops

from hyperkeras.layers.rnn.base_rnn import of_cell
from hyperkeras.layers.rnn.fused_rnn import FastRecurrent
from hyperkeras.layers.rnn.layer_norm_lstm_cell import LayerNormLSTMCell


class FastLSTM(FastRecurrent):
    """Base class of the recurrent layers around a `LayerNormLSTMCell`."""

    layer_norm = of_cell("layer_norm")
    recurrent_dropout = of_cell("recurrent_dropout")
    forget_bias = of_cell("forget_bias")
    recurrent_activation = of_cell("recurrent_activation")

    def has_known_gates(self) -> bool:
        return self.recurrent_activation is keras.activations.sigmoid


def lstm_weights(cell: LayerNormLSTMCell) -> dict[str, Any]:
    """Of a `LayerNormLSTMCell`, as the fast paths take them."""
    bias = ops.zeros((4 * cell.units,), cell.compute_dtype) if cell.bias is None else cell.bias
    weights = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel, "bias": bias}
    weights = {name: ops.convert_to_tensor(weight) for name, weight in weights.items()}
    if cell.norm is not None:
        weights["norm"] = tuple(ops.convert_to_tensor(weight) for weight in cell.norm)
    return weights
