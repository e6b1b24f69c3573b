"""The recurrent layers' part of the task `speed`: what is compared, and the steps that are timed.

* `hyper_lstm`, `layer_norm_lstm`, `hyper_rnn`: our layer against `keras.layers.LSTM` of the same
  units;
* `hyper_lstm_cell`: the layer against its cell in `keras.layers.RNN`;
* `hyper_lstm_length`: as `hyper_lstm`, for longer and longer sequences: memory against length;
* `hyper_lstm_compile`: what first steps take longer than second ones, with sequences of one length
  and of fifteen;
* `hyper_rnn_forms`: rows scaled against weights generated whole.
"""

import time

MODELS = (
    *("hyper_lstm", "layer_norm_lstm", "hyper_rnn", "hyper_lstm_cell", "hyper_lstm_length"),
    *("hyper_rnn_forms", "hyper_lstm_compile"),
)
SMALL = dict(batch=2, features=3, units=4, hyper_units=3, embedding_dim=2)
LARGE = dict(batch=32, features=50, units=256, hyper_units=64, embedding_dim=16)
SIZES = {  # steps of a sequence
    "smoke": dict(SMALL, steps=3, lengths=(3, 6), few=3),
    "quick": dict(LARGE, steps=100, lengths=(100, 200), few=10),
    "full": dict(LARGE, steps=100, lengths=(100, 200, 400, 800), few=10),
}


def configurations(model, preset, repeats):
    sizes = dict(SIZES[preset])
    steps, lengths, few = (sizes.pop(name) for name in ("steps", "lengths", "few"))
    if model == "hyper_lstm_length":
        return [dict(sizes, size=length, repeats=repeats) for length in lengths]
    if model == "hyper_lstm_compile":
        return [dict(sizes, size=n, steps=steps, repeats=min(repeats, 3)) for n in (1, 15)]
    steps = few if model == "hyper_rnn_forms" else steps
    return [dict(sizes, size=steps, repeats=3 * repeats)]


def build(model, contender, config):
    """Forward and backward from a given gradient as a function without arguments."""
    import keras

    layer = _layer(model, contender, config)
    x = keras.random.normal((config["batch"], config["size"], config["features"]))
    upstream = keras.random.normal((config["batch"], config["size"], config["units"]))
    layer.build(x.shape)
    steps = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}
    return steps[keras.backend.backend()](layer, x, upstream)


def compiling(model, contender, config):
    """Milliseconds that first steps, of `size` different lengths, take longer than second ones."""
    import keras

    layer = _layer(model, contender, config)
    batch, features, units = (config[name] for name in ("batch", "features", "units"))
    layer.build((batch, None, features))
    step_of = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}
    whole = 0.0
    for k in range(config["size"]):
        length = max(1, config["steps"] - 6 * k)
        x = keras.random.normal((batch, length, features))
        upstream = keras.random.normal((batch, length, units))
        step = step_of[keras.backend.backend()](layer, x, upstream)
        times = []
        for _ in range(2):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        whole += times[0] - times[1]
    return 1000 * whole


def _on_tensorflow(layer, x, upstream):
    import tensorflow as tf

    weights = [weight.value for weight in layer.trainable_weights]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            y = layer(x, training=True)
        return y, tape.gradient(y, weights, output_gradients=upstream)

    return step  # on a CPU it returns when it is done


def _on_jax(layer, x, upstream):
    import jax

    weights = [weight.value for weight in layer.trainable_weights]
    others = [variable.value for variable in layer.non_trainable_variables]

    @jax.jit
    def step(weights):
        def outputs(weights):
            return layer.stateless_call(weights, others, x, training=True)[0]

        y, gradient = jax.vjp(outputs, weights)
        return y, gradient(upstream)

    return lambda: jax.block_until_ready(step(weights))


def _on_torch(layer, x, upstream):
    import torch

    weights = [weight.value for weight in layer.trainable_weights]

    def step():
        y = layer(x, training=True)
        return y, torch.autograd.grad(y, weights, upstream)

    return step


def _layer(model, contender, config):
    import keras

    from hyperkeras import layers

    units, ours = config["units"], contender == "ours"
    hyper = dict(hyper_units=config["hyper_units"], embedding_dim=config["embedding_dim"])
    if model == "hyper_rnn_forms":
        form = "scaled" if ours else "full"
        return layers.HyperRNN(units, form=form, return_sequences=True, **hyper)
    if not ours and model == "hyper_lstm_cell":
        return keras.layers.RNN(layers.HyperLSTMCell(units, **hyper), return_sequences=True)
    if ours and model == "hyper_rnn":
        return layers.HyperRNN(units, return_sequences=True, **hyper)
    if not ours:
        return keras.layers.LSTM(units, return_sequences=True)
    if model == "layer_norm_lstm":
        return layers.LayerNormLSTM(units, return_sequences=True)
    return layers.HyperLSTM(units, return_sequences=True, **hyper)
