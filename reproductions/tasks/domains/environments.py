"""Domains made of digits by code, as DomainBed makes them, one of which is held out."""

import numpy as np

ANGLES = (0, 15, 30, 45, 60, 75)
COLORS = {"+90%": 0.1, "+80%": 0.2, "-90%": 0.9}  # how often the color contradicts the label
FLIPPED = 0.25  # labels that are wrong


class Domains:
    """Images of domains, of which the batches hold equally many each, domain after domain.

    Four fifths of a domain are trained on, the rest is for validation; of the domain that is held
    out, four fifths are the test.
    """

    def __init__(self, domains, held_out, config):
        self.config, rng = config, np.random.default_rng(0)
        parts = []
        for x, y in domains:
            order, cut = rng.permutation(len(x)), len(x) // 5
            parts.append([(x[i], y[i]) for i in (order[cut:], order[:cut])])
        self.test = parts.pop(held_out)[0]
        self.inside, outside = zip(*parts, strict=True)
        self.valid = tuple(np.concatenate(arrays) for arrays in zip(*outside, strict=True))
        self.valid_domains = np.arange(len(parts)).repeat([len(y) for _, y in outside])
        self.count = len(parts)
        self.classes = 1 + max(int(y.max()) for _, y in domains)

    def train(self, seed, epoch):
        rng = np.random.default_rng([8, seed, epoch])
        for _ in range(self.config["steps"]):
            some = [rng.integers(0, len(y), self.config["batch"]) for _, y in self.inside]
            yield tuple(
                np.concatenate([part[k][i] for part, i in zip(self.inside, some, strict=True)])
                for k in (0, 1)
            )


def dealt(x, y, count, most):
    """(x, y) shuffled and dealt to `count` domains, at most `most` images to each."""
    order = np.random.default_rng(0).permutation(len(x))
    return [(x[order[i::count][:most]], y[order[i::count][:most]]) for i in range(count)]


def turned(x, angle):
    """Images turned counter-clockwise by an angle in degrees."""
    from scipy.ndimage import rotate

    return np.clip(rotate(x, angle, axes=(1, 2), reshape=False, order=1), 0, 1).astype("float32")


class RotatedDomains(Domains):
    """Each domain is turned by an angle of its own; `held_out` is an angle.

    Args:
        x, y: Images in [0, 1] `[m, side, side, 1]` and labels.
        held_out: The angle that is held out.
        config: Configuration of the run.
    """

    def __init__(self, x, y, held_out, config):
        parts = dealt(x, y, len(ANGLES), config["images"])
        domains = [(turned(x, a), y) for (x, y), a in zip(parts, ANGLES, strict=True)]
        self.angles = [a for a in ANGLES if a != held_out]
        super().__init__(domains, ANGLES.index(held_out), config)

    def sweep(self):
        """Validation images of one domain turned by angles around theirs: (angles, images)."""
        upright = [
            turned(self.valid[0][self.valid_domains == d], -a) for d, a in enumerate(self.angles)
        ]
        images, angles = np.concatenate(upright)[:200], range(0, 80, 5)
        return angles, [turned(images, a) for a in angles]


class ColoredDomains(Domains):
    """Whether a digit is below five, with wrong labels, and colors that go along with labels.

    In a domain the color, one of two channels, contradicts the label with a probability of its own.
    """

    def __init__(self, x, y, held_out, config):
        rng, domains = np.random.default_rng(1), []
        parts = dealt(x, y, len(COLORS), config["images"])
        for (images, digit), e in zip(parts, COLORS.values(), strict=True):
            label = (digit < 5) ^ (rng.random(len(digit)) < FLIPPED)
            color = label ^ (rng.random(len(digit)) < e)
            channels = np.stack([~color, color], axis=-1)[:, None, None]
            domains.append(((images * channels).astype("float32"), label.astype("int32")))
        super().__init__(domains, list(COLORS).index(held_out), config)
