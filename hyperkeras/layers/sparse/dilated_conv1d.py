"""The 1D convolution whose dilation is learned."""

import keras

from hyperkeras.layers.sparse.base_dilated_conv import DilatedConv


@keras.saving.register_keras_serializable(package="hyperkeras")
class DilatedConv1D(DilatedConv):
    r"""A 1D convolution whose dilation is learned by gradient, with its kernel.

    .. math:: y_t = \phi\Big(b + \sum_a K_a\, \bar x(t + d\, o_a)\Big)

    The dilation d is one number for the whole layer. In training it need not be whole: x̄ is what a
    `SparseHyperlayer` reads near each place, in proportions that have a gradient. At inference d is
    rounded, and the layer is `keras.layers.Conv1D` with `dilation_rate=round(d)`, which
    `hyperkeras.models.freeze` gives. See `DilationSource`.

    The gradient of d compares inputs next to each other, so that d moves only where neighboring
    inputs are alike. The layer does not learn d from white noise. More samples and a larger
    variance let it compare inputs further apart.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Integer, or a sequence of one integer: the kernel's points. Odd with
            `padding="same"`.
        max_dilation: Integer of at least 2, the largest dilation. The input is padded for it.
        initial_dilation: Number from 1 to `max_dilation`, where the dilation starts (default 1).
        padding: `"same"` (default), or `"causal"`: no output sees later inputs.
        data_format: `"channels_last"` or `"channels_first"`. None (default) for
            `keras.config.image_data_format()`.
        activation: Activation function φ, or its name (default: None, the identity).
        use_bias: Boolean, whether the layer adds a bias vector (default `True`).
        kernel_initializer: Initializer of the kernel (default `"glorot_uniform"`).
        bias_initializer: Initializer of the bias (default `"zeros"`).
        kernel_regularizer: Regularizer of the kernel.
        bias_regularizer: Regularizer of the bias.
        sigma_scale: Float ≥ 0, factor on the variance, which is a fraction of the padded input's
            size (default 0.01).
        min_sigma: Float ≥ 0, added to the variance, as such a fraction (default 0).
        global_samples: Integer ≥ 0, how many inputs each point of the kernel reads from anywhere,
            beside the two next to it (default 0).
        local_samples: Integer ≥ 0, how many it reads from a window around it (default 0).
        region: Integer, the window's length. None (default) for the whole input.
        seed: Integer, the seed of the draws. None (default) for a random one.

    Input shape:
        `[b, steps, channels]`, or `[b, channels, steps]` for channels first, of known size.

    Output shape:
        `[b, steps, filters]`, or `[b, filters, steps]`.

    Parameters: kernel_size · channels · filters + filters + 2.

    Example:

    ```python
    layer = hyperkeras.layers.DilatedConv1D(16, 3, max_dilation=8)
    layer(keras.random.normal((4, 32, 2))).shape  # (4, 32, 16)
    int(layer.dilation)  # 1
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    plain_layer = keras.layers.Conv1D
    rank = 1
