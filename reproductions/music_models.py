"""The music task's models by name, of equal size."""

from reproductions import music_language as language
from reproductions.music_dense_networks import DenseVAE
from reproductions.music_sparse_networks import SparseVAE

LARGE = 128


def network(model, config, data):
    """The Keras model of a name; all but "real", "ngram" and "dense_vae_large" of equal size."""
    most = config["most"]
    if model == "real":
        return language.Real(data.splits["train"], most, name=model)
    if model == "ngram":
        x = data.moved_train
        orders = tuple(config.get("orders", language.ORDERS))
        vocabulary = language.Vocabulary(x)
        return language.NGramModel(vocabulary, most, x, data.valid[0], orders, name=model)
    latent = dict(latent=config["latent"], free_nats=config["free_nats"])
    sizes = dict(embedding=config["embedding"], hidden=config["hidden"], **latent)
    if model == "sparse_vae":
        return SparseVAE(most, **sizes, dropout=config["dropout"], name=model)
    if model == "dense_vae_large":
        return DenseVAE(most, LARGE, **latent, name=model)
    widths = config["embedding"], config["hidden"], config["latent"]
    wanted = SparseVAE.parameters(most, *widths)
    if model == "dense_vae":
        hidden = nearest(lambda n: DenseVAE.parameters(most, n, config["latent"]), wanted)
        return DenseVAE(most, hidden, **latent, name=model)
    vocabulary = language.Vocabulary(data.whole_train[0])

    def count(units):
        size = vocabulary.size, units, config["embedding"]
        return language.LanguageModel.parameters(model, *size)

    units = nearest(count, wanted)
    sizes = dict(units=units, embedding=config["embedding"], dropout=config["dropout"])
    return language.LanguageModel(model, vocabulary, most, **sizes)


def nearest(count, wanted):
    """The width whose number of parameters is nearest."""
    return min(range(1, 1025), key=lambda width: abs(count(width) - wanted))
