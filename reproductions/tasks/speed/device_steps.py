"""Several devices in the task `speed`: one layer's tuples divided among eight devices of JAX.

* `tuples_over_devices`: a training step of a `SparseHyperlayer` whose `FreeSource` is divided among
  eight logical devices of the processor, against the same on one. `mb` is what one device holds for
  it: arguments, results and what XLA plans between them.
"""

import os
import statistics
import time

MODELS = ("tuples_over_devices",)
DEVICES = 8
SIZES = {"smoke": (800,), "quick": (10**5, 10**6), "full": (10**5, 10**6, 10**7)}


def configurations(preset, repeats):
    return [
        dict(size=k, batch=1, chunk=10, samples=1, region=16, repeats=min(repeats, 3))
        for k in SIZES[preset]
    ]


def measure(contender, config, seed):
    """Milliseconds of a step and the megabytes of each device, in a process that has no devices."""
    count = DEVICES if contender == "ours" else 1
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    os.environ |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    import jax
    import keras

    from hyperkeras.layers import FreeSource, SparseHyperlayer

    if count > 1:
        _divide()
    keras.utils.set_random_seed(seed)
    k, n, samples = config["size"], config["size"] // 10, config["samples"]
    source = FreeSource(k, shared=True)
    layer = SparseHyperlayer((n,), source, config["chunk"], 0, samples, config["region"])
    x = keras.random.normal((config["batch"], n))
    layer.build(x.shape)
    state = [variable.value for variable in layer.non_trainable_variables]

    @jax.jit
    def step(weights):
        def loss(weights):
            y, _ = layer.stateless_call(weights, state, x, training=True)
            return keras.ops.mean((y - x) ** 2)

        gradients = jax.grad(loss)(weights)
        return [w - 0.1 * g for w, g in zip(weights, gradients, strict=True)]

    weights = [variable.value for variable in layer.trainable_variables]
    planned = step.lower(weights).compile().memory_analysis()
    held = planned.argument_size_in_bytes + planned.output_size_in_bytes
    times = []
    for _ in range(config["repeats"] + 1):
        start = time.perf_counter()
        weights = jax.block_until_ready(step(weights))
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:]), (held + planned.temp_size_in_bytes) / 2**20


def _divide():
    import keras

    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*(means|sigmas|values)"] = ("model",)
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout))
