"""The networks that draw: one recurrent layer and a mixture density; and drawing with them."""

import numpy as np

from reproductions.likelihoods import mixture_density


def network(model, config):
    """From the points before, `[b, t, 3]`, to the densities of the next, `[b, t, 6 k + 1]`."""
    import keras

    return keras.Sequential(
        [
            keras.Input((None, 3)),
            recurrent(model, config),
            keras.layers.Dropout(config["dropout"], name="dropout"),
            keras.layers.Dense(6 * config["mixtures"] + 1, name="density"),
        ],
        name=model,
    )


def recurrent(model, config):
    from hyperkeras import layers

    shared = dict(
        units=config["units"],
        layer_norm="layer_norm" in model,
        recurrent_dropout=config["dropout"],
        return_sequences=True,
        name="recurrent",
    )
    if not model.endswith("hyper_lstm"):
        return layers.LayerNormLSTM(**shared)  # without layer norm an LSTM like Keras's, but faster
    return layers.HyperLSTM(
        hyper_units=config["hyper_units"],
        embedding_dim=config["embedding_dim"],
        hyper_recurrent_dropout=config["dropout"],
        **shared,
    )


def compile_network(network, config):
    import keras
    from keras import ops

    def nats_a_point(y_true, y_pred):
        return ops.sum(mixture_density.nats(y_true, y_pred)) / ops.sum(y_true[..., 3])

    steps = config["epochs"] * config["steps"]
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=config["learning_rate"], warmup_steps=steps // 20
    )
    network.compile(
        keras.optimizers.Adam(rate, global_clipnorm=config["clip"]),
        nats_a_point,
        metrics=[mixture_density.nats],
        # The recurrence is compiled by XLA by itself.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def one_step(network):
    """The recurrent layer's cell, which also gives the weight changes if it is a HyperLSTM's."""
    cell = network.get_layer("recurrent").cell
    if not hasattr(cell, "hyper_cell"):
        return cell
    telling = type(cell).from_config({**cell.get_config(), "return_weight_changes": True})
    telling.build((None, 3))
    telling.set_weights(cell.get_weights())
    return telling


def draw(network, count, steps, temperature=1.0, seed=0):
    """Drawings from nothing: points `[count, steps, 3]`; and the weight changes at each point of
    the gates i, f, c, o, `[count, steps, 4]`, None where the network has no generated weights.
    """
    import keras
    from keras import ops

    cell, density = one_step(network), network.get_layer("density")
    seeds = keras.random.SeedGenerator(seed)
    states, point = cell.get_initial_state(count), ops.zeros((count, 3))
    points, changes, units = [], [], cell.units
    for _ in range(steps):
        output, states = cell(point, states)
        point = mixture_density.sample(density(output[:, :units]), temperature, seeds)
        points.append(ops.convert_to_numpy(point))
        changes.append(ops.convert_to_numpy(output[:, units:]))
    changes = np.stack(changes, axis=1)
    return np.stack(points, axis=1), changes if changes.shape[-1] else None
