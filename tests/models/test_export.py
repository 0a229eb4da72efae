import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, breed, examples, export, match, pixels

SIDE = 32
BREEDS = ["beagle", "husky", "borzoi", "basset", "pug", "collie", "saluki"]
MANY = export.CHUNK + 5


def loaded(model, folder):
    model.save(str(folder))
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def breed_net():
    keras.utils.set_random_seed(0)
    backbone = backbones.get("small_cnn").build(SIDE)
    return breed.classifier(backbone, SIDE, range(6), len(BREEDS))


@pytest.fixture(scope="module")
def breed_model(breed_net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("breed")
    return loaded(export.BreedExport(breed_net, SIDE, BREEDS), folder)


@pytest.fixture(scope="module")
def match_model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    net = match.encoder(backbones.get("small_cnn").build(SIDE), SIDE)
    return loaded(export.MatchExport(net, SIDE, 4.0, -1.0), tmp_path_factory.mktemp("match"))


@pytest.fixture(scope="module")
def photos(picture, encoded):
    shapes = [(20 + number, 60 - number, number) for number in range(MANY)]
    kinds = ["PNG", "JPEG"]
    return [encoded(picture(*shape), kinds[shape[2] % 2]) for shape in shapes]


def shapes(model, name):
    _, inputs = model.signatures[name].structured_input_signature
    outputs = model.signatures[name].structured_outputs
    return (
        {key: spec.shape.as_list() for key, spec in inputs.items()},
        {key: spec.shape.as_list() for key, spec in outputs.items()},
    )


def classified(model, photos):
    result = model.signatures["classify"](image_bytes=tf.constant(photos, tf.string))
    return result["classes"].numpy(), result["probabilities"].numpy()


def served(model, rows):
    return model.signatures["serving_default"](tf.constant(rows, tf.string))


def embedded(model, photos):
    return model.signatures["embed"](image_bytes=tf.constant(photos, tf.string))["embedding"]


def compared(model, first, second):
    return model.signatures["compare"](
        image_bytes_a=tf.constant(first, tf.string), image_bytes_b=tf.constant(second, tf.string)
    )["same_dog"]


def pair(first, second):
    return examples.serialize({"image_a/encoded": first, "image_b/encoded": second})


def test_breed_has_the_signatures_of_its_contract(breed_model):
    assert set(breed_model.signatures) == {"serving_default", "classify", "logits"}
    assert shapes(breed_model, "serving_default")[0].popitem()[1] == [None]
    assert list(shapes(breed_model, "serving_default")[1]) == ["probabilities"]
    assert shapes(breed_model, "classify")[0] == {"image_bytes": [None]}
    assert set(shapes(breed_model, "classify")[1]) == {"classes", "probabilities"}
    assert shapes(breed_model, "logits") == (
        {"images": [None, SIDE, SIDE, 3]},
        {"logits": [None, len(BREEDS)]},
    )


def test_match_has_the_signatures_of_its_contract_and_score(match_model):
    assert set(match_model.signatures) == {"serving_default", "embed", "compare", "score"}
    assert shapes(match_model, "embed")[0] == {"image_bytes": [None]}
    assert list(shapes(match_model, "embed")[1]) == ["embedding"]
    assert shapes(match_model, "compare")[0] == {"image_bytes_a": [None], "image_bytes_b": [None]}
    assert list(shapes(match_model, "compare")[1]) == ["same_dog"]
    assert list(shapes(match_model, "serving_default")[1]) == ["same_dog"]
    assert shapes(match_model, "score")[0] == {
        "embedding_a": [None, 128],
        "embedding_b": [None, 128],
    }


def test_a_model_tells_how_many_photos_of_each_breed_it_was_trained_on(tmp_path):
    assert export.training_photos(str(tmp_path)) is None

    export.tell_training(str(tmp_path), ["pug", "beagle", "pug"])

    assert export.training_photos(str(tmp_path)) == {"pug": 2, "beagle": 1}


def test_classify_gives_the_five_likeliest_breeds_in_order(breed_model, photos):
    classes, probabilities = classified(breed_model, photos)

    assert classes.shape == probabilities.shape == (MANY, 5)
    assert (np.diff(probabilities, axis=1) <= 0).all()
    assert set(classes.ravel()) <= {name.encode() for name in BREEDS[:6]}  # saluki: not trained


def test_serving_default_says_what_classify_says(breed_model, photos):
    rows = [examples.serialize({examples.ENCODED: photo}) for photo in photos]

    all_breeds = served(breed_model, rows)["probabilities"].numpy()
    classes, probabilities = classified(breed_model, photos)

    assert all_breeds.shape == (MANY, len(BREEDS))
    assert all_breeds.sum(axis=1) == pytest.approx(np.ones(MANY), abs=1e-5)
    best = np.argsort(-all_breeds, axis=1)[:, :5]
    assert np.take_along_axis(all_breeds, best, axis=1) == pytest.approx(probabilities, abs=1e-6)
    assert (np.array(BREEDS)[best[:, 0]] == np.char.decode(classes[:, 0].astype(bytes))).all()


def test_a_photo_is_answered_as_its_record_is_by_the_network(breed_model, breed_net, photos):
    records = [pixels.decode(pixels.encode(pixels.load(photo, SIDE))) for photo in photos]
    expected = tf.nn.softmax(breed_net(np.stack(records).astype(np.float32))).numpy()
    rows = [examples.serialize({examples.ENCODED: photo}) for photo in photos]

    answer = served(breed_model, rows)["probabilities"].numpy()

    assert answer == pytest.approx(expected, abs=1e-5)


def test_logits_are_those_of_the_network_for_a_whole_batch(breed_model, breed_net, picture):
    images = np.stack([picture(SIDE, SIDE, seed) for seed in range(MANY)]).astype(np.float32)

    logits = breed_model.signatures["logits"](images=tf.constant(images))["logits"].numpy()

    assert logits == pytest.approx(breed_net(images).numpy(), abs=1e-4)
    assert (logits[:, 6] == -1e9).all()  # saluki: not trained


def test_a_network_of_half_precision_answers_in_float32(tmp_path, picture, encoded):
    keras.utils.set_random_seed(0)
    images = keras.Input((SIDE, SIDE, 3))
    half = keras.layers.Conv2D(8, 3, activation="relu", dtype="mixed_bfloat16")(images)
    pooled = keras.layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(half)
    net = keras.Model(images, keras.layers.Dense(len(BREEDS), dtype="mixed_bfloat16")(pooled))
    model = loaded(export.BreedExport(net, SIDE, BREEDS), tmp_path)
    image = picture(SIDE, SIDE)

    logits = model.signatures["logits"](images=tf.constant(image[None], tf.float32))["logits"]
    row = examples.serialize({examples.ENCODED: encoded(image, "PNG")})
    probabilities = served(model, [row])["probabilities"]

    assert net(image[None]).dtype == tf.bfloat16
    assert logits.dtype == probabilities.dtype == tf.float32
    assert probabilities.numpy() == pytest.approx(tf.nn.softmax(logits).numpy(), abs=1e-6)


def test_a_row_is_answered_the_same_in_any_company(breed_model, photos):
    _, together = classified(breed_model, photos)
    _, alone = classified(breed_model, photos[-1:])

    assert alone[0] == pytest.approx(together[-1], abs=1e-5)


def test_breed_takes_no_rows(breed_model):
    classes, probabilities = classified(breed_model, [])

    assert classes.shape == probabilities.shape == (0, 5)
    assert served(breed_model, [])["probabilities"].shape == (0, len(BREEDS))


def test_embeddings_have_unit_length(match_model, photos):
    embeddings = embedded(match_model, photos).numpy()

    assert embeddings.shape == (MANY, 128)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(MANY), abs=1e-5)


def test_compare_is_the_score_of_the_embeddings(match_model, photos):
    first, second = photos, photos[::-1]
    score = match_model.signatures["score"](
        embedding_a=embedded(match_model, first), embedding_b=embedded(match_model, second)
    )["same_dog"]

    same_dog = compared(match_model, first, second)

    assert same_dog.shape == (MANY,)
    assert same_dog.numpy() == pytest.approx(score.numpy(), abs=1e-5)


def test_the_probability_is_calibrated_by_scale_and_offset(match_model, photos):
    # A photo with itself has the cosine 1: sigmoid(4 * 1 - 1) = 0.95257.
    assert float(compared(match_model, photos[:1], photos[:1])[0]) == pytest.approx(
        0.95257, abs=1e-4
    )


def test_match_serves_examples_of_two_photos(match_model, photos):
    rows = [pair(*both) for both in zip(photos, photos[::-1], strict=True)]

    same_dog = served(match_model, rows)["same_dog"].numpy()

    assert same_dog == pytest.approx(compared(match_model, photos, photos[::-1]).numpy(), abs=1e-5)


def test_match_takes_no_rows(match_model):
    assert embedded(match_model, []).shape == (0, 128)
    assert compared(match_model, [], []).shape == (0,)
    assert served(match_model, [])["same_dog"].shape == (0,)
