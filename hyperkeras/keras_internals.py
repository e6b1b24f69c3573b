"""What hyperkeras needs of Keras beyond its public names, each with the reason.

No other file of the library touches a name of Keras that begins with an underscore, so that a new
release of Keras is checked here.
"""


def sublayers(layer):
    """A layer and all layers inside it, each before its own: the public `layers` of a model has
    neither those of subclassed layers nor those inside layers."""
    return layer._flatten_layers()


def is_called_elsewhere(layer):
    """Whether a layer was called on a symbolic input, and so stands in a Functional model's graph:
    Keras tells it by its nodes alone."""
    return bool(getattr(layer, "_inbound_nodes", ()))


def mask_of(tensor):
    """The mask that Keras sends along with a tensor, or None: only layers of one input are given
    it as an argument."""
    return getattr(tensor, "_keras_mask", None)
