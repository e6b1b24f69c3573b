"""What a gate divides images by: agreement with domains and classes, and pictures."""

import numpy as np

BATCH = 500


def shares(network, x):
    """The share of each expert in each image [m, K]."""
    from keras import ops

    parts = [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
    return np.concatenate([np.array(ops.softmax(network.gate_logits(part))) for part in parts])


def clusters(network, data, config):
    """A cluster for each validation image: the gate's first expert, else k-means on features."""
    x = data.valid[0]
    if hasattr(network, "gate"):
        return shares(network, x).argmax(-1)
    from sklearn.cluster import KMeans

    features = network.features.predict(x, batch_size=BATCH, verbose=0)
    kmeans = KMeans(config["experts"], n_init=4, random_state=0)
    return kmeans.fit_predict(features)


def agreement(network, data, config):
    """Of clusters with domains and with classes, and how the gate uses its experts."""
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    found = clusters(network, data, config)
    result = {
        "nmi_domain": normalized_mutual_info_score(data.valid_domains, found),
        "ari_domain": adjusted_rand_score(data.valid_domains, found),
        "nmi_class": normalized_mutual_info_score(data.valid[1], found),
        "experts_used": None,
    }
    if hasattr(network, "gate"):
        used = np.bincount(found, minlength=config["experts"]) >= 0.02 * len(found)
        result["experts_used"] = int(used.sum())
    return {key: None if value is None else float(value) for key, value in result.items()}


def draw(network, data, path):
    """The mean share of each expert, by angle and by class."""
    from matplotlib.figure import Figure

    if not hasattr(network, "gate") or not hasattr(data, "sweep"):
        return
    angles, images = data.sweep()
    by_angle = np.stack([shares(network, x).mean(0) for x in images])
    x, y = data.valid
    of_images = shares(network, x)
    by_class = np.stack([of_images[y == c].mean(0) for c in range(data.classes)])
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, line in enumerate(by_angle.T):
        left.plot(angles, line, label=f"expert {k}")
    for angle in data.angles:
        left.axvline(angle, color="gray", linewidth=0.5, linestyle=":")
    left.set(xlabel="turned by degrees (dotted: trained on)", ylabel="mean share", ylim=(0, 1))
    left.legend(fontsize=6)
    image = right.imshow(by_class.T, vmin=0, vmax=1, cmap="gray_r", aspect="auto")
    right.set(xlabel="class", ylabel="expert")
    figure.colorbar(image, ax=right, label="mean share")
    figure.savefig(path, dpi=90)
