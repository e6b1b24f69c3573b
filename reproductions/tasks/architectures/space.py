"""The space of small convolutional networks: descriptions, draws, and Keras models of them."""

from typing import NamedTuple


class Block(NamedTuple):
    """A convolution and what is around it.

    Args:
        kind: "conv1", "conv3" or "separable".
        units: How many channels it gives; with a skip connection as many as it gets.
        skip: Whether its input is added to its output.
        pool: "max", "average" or None.
    """

    kind: str
    units: int
    skip: bool
    pool: str | None


class Architecture(NamedTuple):
    """A network: a stem of so many channels, blocks, a mean over places and a dense layer."""

    stem: int
    blocks: tuple[Block, ...]
    normalized: bool = True


KINDS = ("conv1", "conv3", "separable")
WIDTHS = (6, 8, 12, 16)
WIDE = (24, 32)
DEPTHS = (1, 2, 3)
DEEP = (5, 6)
# How the networks of a split differ from those that are trained on.
SPLITS = {
    "test": {},
    "wide": dict(widths=WIDE),
    "deep": dict(depths=DEEP),
    "no_norm": dict(normalized=False),
}
SHALLOW = dict(depths=(1,))  # for trials that take seconds
POOLS = 1  # at most


def draw(rng, widths=WIDTHS, depths=DEPTHS, normalized=True):
    """A random architecture."""
    units = stem = int(rng.choice(widths))
    blocks, pools = [], 0
    for _ in range(rng.choice(depths)):
        skip = bool(rng.random() < 0.5)
        units = units if skip else int(rng.choice(widths))
        pool = None
        if pools < POOLS and rng.random() < 0.4:
            pool, pools = ("max", "average")[rng.integers(2)], pools + 1
        blocks.append(Block(KINDS[rng.integers(len(KINDS))], units, skip, pool))
    return Architecture(stem, tuple(blocks), normalized)


def draw_new(rng, count, known=(), **changes):
    """`count` different architectures, none of them in `known`."""
    found = []
    while len(found) < count:
        architecture = draw(rng, **changes)
        if architecture not in found and architecture not in known:
            found.append(architecture)
    return found


def build(architecture, input_shape, classes):
    """The Keras model of an architecture."""
    import keras
    from keras import layers

    normalized = architecture.normalized

    def convolution(x, units, window, strides=1):
        x = layers.Conv2D(units, window, strides, padding="same", use_bias=not normalized)(x)
        if normalized:
            # Without momentum, statistics are those of the last batch in training mode.
            x = layers.BatchNormalization(momentum=0.0)(x)
        return layers.ReLU()(x)

    inputs = keras.Input(input_shape)
    x = convolution(inputs, architecture.stem, 3, 2)
    for block in architecture.blocks:
        before = x
        if block.kind == "separable":
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = convolution(x, block.units, 3 if block.kind == "conv3" else 1)
        if block.skip:
            x = layers.Add()([before, x])
        if block.pool is not None:
            x = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[block.pool](2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(classes)(x))
