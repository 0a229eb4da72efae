import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from models import backbones

SMALL = backbones.get(backbones.SMALL)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(1)
    return SMALL.build(32)


@pytest.fixture
def weights_file(trained, tmp_path):
    path = str(tmp_path / "small.weights.h5")
    trained.layers[-1].save_weights(path)
    return path


@pytest.fixture
def other_file(tmp_path):
    path = str(tmp_path / "other.weights.h5")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save_weights(path)
    return path


@pytest.mark.parametrize("backbone", backbones.BACKBONES.values(), ids=lambda it: it.name)
def test_registered_facts_are_those_of_keras(backbone):
    model = backbone.build(backbone.smallest)

    assert model.count_params() == backbone.weights
    assert model.input_shape == (None, backbone.smallest, backbone.smallest, 3)
    assert len(model.output_shape) == 4
    keras.backend.clear_session()


def test_pixels_are_scaled_to_what_the_network_was_trained_on():
    scaling = SMALL.build(32).layers[1]

    assert scaling(np.array([0.0, 127.5, 255.0])).numpy().tolist() == [-1.0, 0.0, 1.0]


def test_an_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown backbone 'vgg'.*mobilenet_v2"):
        backbones.get("vgg")


def test_a_file_saved_by_keras_is_the_backbones_own(weights_file):
    backbones.check_weights(weights_file, SMALL)


def test_the_older_layout_is_known_too(trained, tmp_path):
    path = str(tmp_path / "small.h5")
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, trained.layers[-1])

    backbones.check_weights(path, SMALL)


def test_loaded_weights_are_those_of_the_file(trained, weights_file):
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    fresh = SMALL.build(32)

    SMALL.load(fresh, weights_file)

    assert fresh(images).numpy() == pytest.approx(trained(images).numpy(), abs=1e-6)


def test_weights_fit_any_image_size(trained, weights_file):
    larger = SMALL.build(64)

    SMALL.load(larger, weights_file)

    first, second = larger.get_weights()[0], trained.get_weights()[0]
    assert np.array_equal(first, second)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(backbones.WeightsError, match="does not exist"):
        backbones.check_weights(str(tmp_path / "none.h5"), SMALL)


def test_a_file_that_is_no_hdf5_is_an_error(tmp_path):
    path = tmp_path / "page.h5"
    path.write_text("<html>not found</html>")

    with pytest.raises(backbones.WeightsError, match="no HDF5 file"):
        backbones.check_weights(str(path), SMALL)


def test_a_file_of_another_network_is_an_error_with_both_counts(other_file):
    # 4 x 3 weights and 3 biases.
    with pytest.raises(backbones.WeightsError, match=r"holds 15 weights.*has 186,464"):
        backbones.check_weights(other_file, SMALL)


def test_loading_a_file_of_another_network_is_an_error(other_file):
    with pytest.raises(backbones.WeightsError, match="does not fit backbone small_cnn"):
        SMALL.load(SMALL.build(32), other_file)


def test_a_backbone_without_imagenet_weights_says_so(tmp_path):
    with pytest.raises(backbones.WeightsError, match="--weights none"):
        SMALL.fetch_imagenet(str(tmp_path / "out.h5"))
