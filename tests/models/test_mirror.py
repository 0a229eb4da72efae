import keras
import numpy as np

from models import mirror


def test_a_mirrored_net_answers_the_mean_of_both_ways():
    """A net that answers the pixels themselves: those of a photo and of its mirror image."""
    images = keras.Input((2, 2, 3))
    net = keras.Model(images, keras.layers.Flatten()(images))
    photo = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)

    answer = mirror.mirrored(net, 2)(photo)

    assert np.asarray(answer).reshape(2, 2, 3)[0].tolist() == [[1.5, 2.5, 3.5], [1.5, 2.5, 3.5]]
