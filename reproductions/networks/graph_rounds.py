"""Graph networks with generated weights: GIN, and gated ones that a recurrent cell updates."""

from keras import layers, ops

from baselines.graph_networks import gather_sum
from hyperkeras.layers import HyperDense, HyperLSTMCell, KernelGenerator, LayerNormLSTMCell

WIDTH, TILE = 64, 16  # of the generated matrices, and of what the generator makes of an embedding
HYPER_UNITS, HYPER_EMBEDDING = 8, 4


def generator(embedding_dim):
    """What makes all matrices of a network, in tiles."""
    return KernelGenerator((1, 1, TILE, TILE), embedding_dim)


class GeneratedGINConv(layers.Layer):
    """`GINConv` whose two matrices are generated: the layer itself has embeddings and biases."""

    def __init__(self, generator):
        super().__init__()
        self.epsilon = self.add_weight(name="epsilon", shape=(), initializer="zeros")
        self.hidden = HyperDense(WIDTH, generator, activation="relu")
        self.out = HyperDense(WIDTH, generator)

    def call(self, x, edges):
        return self.out(self.hidden((1 + self.epsilon) * x + gather_sum(edges, x)))


def cell_of(model, units):
    """The cell of "dynamic", and of "recurrent", which lacks nothing but the changing weights."""
    if model == "dynamic":
        return HyperLSTMCell(units, hyper_units=HYPER_UNITS, embedding_dim=HYPER_EMBEDDING)
    return LayerNormLSTMCell(units)


class GatedRounds(layers.Layer):
    """Gated graph network (Li et al. 2016): in each round one cell updates the state of all nodes.

    The cell's input is the sum of what a node's neighbors send, by a matrix for each way along
    the edges. Its first state, h, is what is sent, and starts as an affine map of the features.

    Args:
        cell: Recurrent cell with n units.
        rounds: Integer, how many rounds of messages.
        ways: Integer, how many tensors of edges it is called on (default 1).

    Call arguments:
        x: Float tensor of shape `[nodes, f]`.
        edges: List of integer tensors of shape `[e, 2]`, one for each way.

    Output shape:
        A list of `[nodes, n]`: h after each round.

    References:
        - [Li et al., 2016](https://arxiv.org/abs/1511.05493)
    """

    def __init__(self, cell, rounds, ways=1):
        super().__init__()
        self.cell, self.rounds = cell, rounds
        self.start = layers.Dense(cell.units)
        self.send = [layers.Dense(cell.units, use_bias=False) for _ in range(ways)]

    def call(self, x, edges):
        h = self.start(x)
        states = [h, *(ops.zeros((ops.shape(x)[0], size)) for size in self.cell.state_size[1:])]
        after = []
        for _ in range(self.rounds):
            sent = [gather_sum(e, send(h)) for e, send in zip(edges, self.send, strict=True)]
            _, states = self.cell(sum(sent[1:], sent[0]), states)
            h = states[0]
            after.append(h)
        return after


def generator_parameters(embedding_dim):
    return embedding_dim * (embedding_dim + 1) * TILE + TILE * (embedding_dim + 1)


def gin_parameters(embedding_dim):
    """Those of a `GeneratedGINConv` besides the generator's."""
    return 1 + 2 * ((WIDTH // TILE) ** 2 * embedding_dim + WIDTH)


def rounds_parameters(model, features, n, ways=1):
    """Those of `GatedRounds` with the cell of "dynamic" or "recurrent" of n units."""
    count = (features + 1) * n + ways * n * n + 4 * n * (2 * n + 1) + 10 * n
    if model == "recurrent":
        return count
    m, e = HYPER_UNITS, HYPER_EMBEDDING
    return count + 4 * m * (2 * n + m + 1) + 10 * m + 12 * m * e + 8 * e + 12 * e * n


def generated(convolutions):
    """How many weights these layers generate: their matrices, or a round's scales and shifts."""
    count = 0
    for layer in convolutions:
        if isinstance(layer, GeneratedGINConv):
            count += 2 * WIDTH**2
        elif isinstance(layer, GatedRounds) and isinstance(layer.cell, HyperLSTMCell):
            count += 12 * layer.cell.units
    return count
