"""How like real music generated pieces are: histograms, and a classifier that tells them apart.

A piece is `[n, 4]`: tick, pitch, duration and velocity of each note, on a grid of sixteenths.
"""

import numpy as np

BINS = {"pitch_class": 12, "interval": 49, "length": 65, "onset": 65}
MAJOR = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11))
LAGS = (12, 16, 24, 32, 36, 48)


def values(notes):
    """{histogram: the bins that the piece's notes fall into}."""
    at, pitch, duration, _ = np.asarray(notes, "int64").T
    return {
        "pitch_class": pitch % 12,
        "interval": np.clip(np.diff(pitch), -24, 24) + 24,
        "length": np.minimum(duration, 64),
        "onset": np.clip(np.diff(at), 0, 64),  # from one note to the next
    }


def histogram(pieces, name):
    """Counts of all pieces' notes."""
    per_piece = [values(piece)[name] for piece in pieces if len(piece)]
    return np.bincount(np.concatenate([*per_piece, np.zeros(0, "int64")]), minlength=BINS[name])


def overlap(p, q):
    """The area two histograms share, each scaled to area 1: from 0 to 1."""
    if not p.sum() or not q.sum():
        return 0.0
    return float(np.minimum(p / p.sum(), q / q.sum()).sum())


def divergence(p, q):
    """KL of p to q in nats, each with half a count more in every bin."""
    p, q = (np.asarray(x, "float64") + 0.5 for x in (p, q))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def likeness(real, made):
    """{metric: number}: mean overlap and KL(real, made) over the histograms, and each overlap."""
    pairs = {name: (histogram(real, name), histogram(made, name)) for name in BINS}
    each = {f"overlap_{name}": overlap(*pair) for name, pair in pairs.items()}
    kl = np.mean([divergence(*pair) for pair in pairs.values()])
    return {"overlap": float(np.mean(list(each.values()))), "kl": float(kl), **each}


def features(notes):
    """Numbers that a classifier sees of a piece, `[f]`.

    Shares of pitch classes, intervals, lengths, onsets, velocities and places in bars of 12 and 16;
    how well it fits a major scale; gaps and overlaps; where it begins and ends; and how many of its
    notes come again, with pitch or length, some time later.
    """
    if not len(notes):
        return np.zeros(features(np.array([[0, 60, 1, 1]])).shape)
    at, pitch, duration, velocity = np.asarray(notes, "int64").T
    n, end = len(at), at + duration
    steps = np.clip(np.diff(pitch), -13, 13) + 13
    proportions = [
        np.bincount(pitch % 12, minlength=12),
        np.bincount(steps, minlength=27),
        np.bincount(np.minimum(duration, 17), minlength=18),
        np.bincount(np.clip(np.diff(at), 0, 17), minlength=18),
        np.bincount(velocity // 8, minlength=16),
        np.bincount(at % 16, minlength=16),
        np.bincount(at % 12, minlength=12),
    ]
    fits = [np.isin(pitch % 12, np.flatnonzero(np.roll(MAJOR, k))).mean() for k in range(12)]
    best = int(np.argmax(fits))
    gaps = at[1:] - end[:-1]
    whole = [n, at[0], at[-1], end.max(), end.max() % 16, end.max() % 12, duration[-1], velocity[0]]
    whole += [velocity[-1], pitch.mean(), np.ptp(pitch), pitch[-1] - pitch[0], fits[best]]
    whole += [(pitch[-1] - best) % 12, (pitch[0] - best) % 12]
    whole += [np.mean(gaps == 0) if n > 1 else 0, np.mean(gaps > 0) if n > 1 else 0]
    again = []
    for lag in LAGS:
        first, later = np.nonzero(at[:, None] + lag == at[None, :])
        moved = pitch[later] - pitch[first]
        again += [
            len(first) / n,
            np.mean(moved == 0) if len(first) else 0,
            np.mean(np.abs(moved - np.median(moved)) <= 1) if len(first) else 0,
            np.mean(duration[later] == duration[first]) if len(first) else 0,
            np.mean(velocity[later] == velocity[first]) if len(first) else 0,
        ]
    return np.concatenate([*(share / max(n, 1) for share in proportions), whole, again])


def detectable(real, made, folds=5, trees=200, seed=0):
    """Accuracy of random forests that tell real from made pieces, on pieces not trained on.

    As many of either; ½ means that they can't tell.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    count = min(len(real), len(made))
    if count < folds:
        raise ValueError(
            f"Expected at least {folds} real and made pieces. Received: {len(real)} and {len(made)}"
        )
    x = np.stack([features(piece) for piece in [*real[:count], *made[:count]]])
    y = np.repeat([0, 1], count)
    forest = RandomForestClassifier(trees, min_samples_leaf=2, random_state=seed)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return float(cross_val_score(forest, x, y, cv=splits).mean())
