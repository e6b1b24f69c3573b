"""The node classifiers: a projection of sparse features, then two layers of one kind."""

import keras
import numpy as np
from keras import layers, ops

from baselines.graph_networks import gather_sum, gcn_weights
from reproductions.tasks.graph_classification.networks import graph_layer

MOVED = dict(sigma_scale=1e-4)  # positions of projected words lie close together
CHOSEN = dict(neighbors=4) | MOVED


class Words(layers.Layer):
    """X W for a sparse X that is known beforehand; dropout is of its entries."""

    def __init__(self, x, units, dropout, regularizer):
        super().__init__()
        self.shape = x.shape
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        self.rows, self.columns = (ops.convert_to_tensor(i, "int32") for i in (rows, x.indices))
        self.values = ops.convert_to_tensor(x.data)
        self.dropout = layers.Dropout(dropout)
        self.units, self.regularizer = units, regularizer

    def build(self, _=None):
        self.kernel = self.add_weight(
            name="kernel", shape=(self.shape[1], self.units), regularizer=self.regularizer
        )

    def call(self, training=False):
        values = self.dropout(self.values, training=training)
        read = ops.take(self.kernel, self.columns, axis=0) * values[:, None]
        return ops.segment_sum(read, self.rows, num_segments=self.shape[0])


class NodeNetwork(keras.Model):
    """Maps indices of nodes of the graph that `data` holds to class scores."""

    def __init__(self, model, data, config):
        super().__init__(name=model)
        regularizer = keras.regularizers.L2(config["l2"] / 2)  # Kipf & Welling halve it
        self.model, hidden = model, config["hidden"]
        self.edges = ops.convert_to_tensor(data.edges)
        self.words = Words(data.x, hidden, config["dropout"], regularizer)
        self.bias = self.add_weight(name="bias", shape=(hidden,), initializer="zeros")
        # What is but a projection and a product with a matrix has the projection already.
        plain = model in ("mlp", "gcn")
        self.first = None if plain else graph_layer(model, hidden, CHOSEN, MOVED)
        self.dropout = layers.Dropout(config["dropout"])
        self.second = graph_layer(model, data.classes, CHOSEN, MOVED)
        self(np.zeros(1, "int32"))

    def call(self, nodes, training=False, soft=False):
        x = self.words(training=training)
        if self.model == "gcn":
            weights, diagonal = gcn_weights(self.edges, ops.shape(x)[0])
            x = gather_sum(self.edges, x, weights) + x * diagonal[:, None]
        x = x + self.bias
        if self.first is not None:
            x = self._graph(self.first, x, training or soft)
        x = self.dropout(ops.relu(x), training=training)
        return ops.take(self._graph(self.second, x, training or soft), nodes, axis=0)

    def _graph(self, layer, x, training):
        if self.model == "mlp":
            return layer(x)
        if self.model in ("gcn", "gin"):
            return layer(x, self.edges)
        return layer(x, self.edges, training=training)
