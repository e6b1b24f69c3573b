"""The 2D convolution whose dilation is learned."""

import keras

from hyperkeras.layers.sparse.base_dilated_conv import DilatedConv


@keras.saving.register_keras_serializable(package="hyperkeras")
class DilatedConv2D(DilatedConv):
    r"""A 2D convolution whose dilation is learned by gradient, with its kernel.

    .. math:: y_p = \phi\Big(b + \sum_a K_a\, \bar x(p + d\, o_a)\Big)

    The dilation d is one number for both axes. In training it need not be whole: x̄ is what a
    `SparseHyperlayer` reads near each place, in proportions that have a gradient. At inference d is
    rounded, and the layer is `keras.layers.Conv2D` with `dilation_rate=round(d)`, which
    `hyperkeras.models.freeze` gives. See `DilationSource`, and `DilatedConv1D` on what d can be
    learned from.

    Args:
        filters: Integer, the number of output channels.
        kernel_size: Odd integer or pair of odd integers, the kernel's height and width.
        max_dilation: Integer of at least 2, the largest dilation. The input is padded for it.
        initial_dilation: Number from 1 to `max_dilation`, where the dilation starts (default 1).
        padding: `"same"`, the only one.
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
        global_samples: Integer ≥ 0, how many pixels each point of the kernel reads from anywhere,
            beside the four next to it (default 0).
        local_samples: Integer ≥ 0, how many it reads from a window around it (default 0).
        region: Integer or pair of integers, the window's dims. None (default) for the whole input.
        seed: Integer, the seed of the draws. None (default) for a random one.

    Input shape:
        `[b, height, width, channels]`, or `[b, channels, height, width]` for channels first, of
        known size.

    Output shape:
        `[b, height, width, filters]`, or `[b, filters, height, width]`.

    Parameters: height · width · channels · filters of the kernel, + filters + 2.

    Example:

    ```python
    layer = hyperkeras.layers.DilatedConv2D(16, 3, max_dilation=4, initial_dilation=2)
    model = keras.Sequential([keras.Input((12, 12, 1)), layer])
    plain = hyperkeras.models.freeze(model)  # a Conv2D with dilation_rate=2
    plain(keras.random.uniform((4, 12, 12, 1))).shape  # (4, 12, 12, 16)
    ```

    References:
        - [Bloem, 2018](https://arxiv.org/abs/1810.09184)
    """

    plain_layer = keras.layers.Conv2D
    rank = 2
    paddings = ("same",)
