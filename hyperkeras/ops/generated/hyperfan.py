"""Variances of a hypernetwork's head (Chang, Flokas & Lipson 2020)."""


def hyperfan_in(
    fan_in: int,
    num_features: int,
    feature_variance: float = 1.0,
    relu: bool = True,
    biases: bool = True,
) -> tuple[float, float]:
    r"""Head variances that keep the target's activations (Chang et al. 2020, section 4.1).

    .. math::
        \mathrm{Var}(H) = \frac{2^{\mathrm{relu}}}{2^{\mathrm{biases}}\, d_j\, d_k\,
            \mathrm{Var}(e)}, \qquad
        \mathrm{Var}(G) = \frac{2^{\mathrm{relu}}}{2\, d_k\, \mathrm{Var}(e)}

    for kernels W = H e and biases b = G e: half of an activation's variance comes from W x, half
    from b, where biases are generated.

    Args:
        fan_in: Integer d_j, inputs of one of the target's units.
        num_features: Integer d_k, the head's inputs.
        feature_variance: Float Var(e), the mean square of the features (default 1).
        relu: Boolean, whether the target's activations are ReLUs (default `True`).
        biases: Boolean, whether the layer's biases are generated, too (default `True`).

    Returns:
        Pair of floats Var(H), Var(G).

    Example:

    ```python
    hyperkeras.ops.hyperfan_in(fan_in=8, num_features=4)  # (0.03125, 0.25)
    ```
    """
    gain, energy = 2.0**relu, num_features * feature_variance
    return gain / (2.0**biases * fan_in * energy), gain / (2 * energy)


def hyperfan_out(
    fan_in: int,
    fan_out: int,
    num_features: int,
    feature_variance: float = 1.0,
    relu: bool = True,
) -> tuple[float, float]:
    r"""Head variances that keep the target's gradients (Chang et al. 2020, section 4.2).

    .. math::
        \mathrm{Var}(H) = \frac{2^{\mathrm{relu}}}{d_i\, d_k\, \mathrm{Var}(e)}, \qquad
        \mathrm{Var}(G) = \max\left(0,\ \frac{2^{\mathrm{relu}} (1 - d_j / d_i)}
            {d_k\, \mathrm{Var}(e)}\right)

    Args:
        fan_in: Integer d_j, inputs of one of the target's units.
        fan_out: Integer d_i, the target's units that one of its inputs reaches.
        num_features: Integer d_k, the head's inputs.
        feature_variance: Float Var(e), the mean square of the features (default 1).
        relu: Boolean, whether the target's activations are ReLUs (default `True`).

    Returns:
        Pair of floats Var(H), Var(G).

    Example:

    ```python
    hyperkeras.ops.hyperfan_out(fan_in=8, fan_out=16, num_features=4)  # (0.03125, 0.25)
    ```
    """
    gain, energy = 2.0**relu, num_features * feature_variance
    return gain / (fan_out * energy), max(0.0, gain * (1 - fan_in / fan_out) / energy)
