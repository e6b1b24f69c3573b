"""The alternatives that hypernetworks are compared with."""

import numpy as np
import pytest

from baselines.conv_net import conv_net


def test_conv_net_gives_scores_and_counts_its_parameters():
    network = conv_net((12, 8, 1), 10, filters=(3, 4), units=5)
    scores = network(np.zeros((2, 12, 8, 1), "float32"))
    assert scores.shape == (2, 10)
    kernels, normalisations = 9 * 1 * 3 + 9 * 3 * 4 + 3 * 2 * 4 * 5, 4 * (3 + 4 + 5)
    assert network.count_params() == kernels + normalisations + (5 + 1) * 10


def test_conv_net_names_a_bad_input_shape():
    with pytest.raises(ValueError, match=r"`input_shape`.*input_shape=\(12, 8\)"):
        conv_net((12, 8), 10)
