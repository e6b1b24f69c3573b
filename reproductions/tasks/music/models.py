"""The music task's models by name, of equal size."""

from reproductions.tasks.music import language_models
from reproductions.tasks.music.dense_vae import DenseVAE
from reproductions.tasks.music.sparse_vae import SparseVAE

LARGE = 128


def network(model, config, data):
    """The Keras model of a name; all but "real", "ngram" and "dense_vae_large" of equal size."""
    most = config["most"]
    if model == "real":
        return language_models.Real(data.splits["train"], most, name=model)
    if model == "ngram":
        x = data.moved_train
        orders = tuple(config.get("orders", language_models.ORDERS))
        vocabulary = language_models.Vocabulary(x)
        return language_models.NGramModel(vocabulary, most, x, data.valid[0], orders, name=model)
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
    vocabulary = language_models.Vocabulary(data.whole_train[0])

    def count(units):
        size = vocabulary.size, units, config["embedding"]
        return language_models.LanguageModel.parameters(model, *size)

    units = nearest(count, wanted)
    sizes = dict(units=units, embedding=config["embedding"], dropout=config["dropout"])
    return language_models.LanguageModel(model, vocabulary, most, **sizes)


def nearest(count, wanted):
    """The width whose number of parameters is nearest."""
    return min(range(1, 1025), key=lambda width: abs(count(width) - wanted))
