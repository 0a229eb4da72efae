import numpy as np
import pytest
import tensorflow as tf

from models import augment

SIDE = 16
GREY = 128
SEEDS = 24


@pytest.fixture
def photo(picture):
    return picture(SIDE, SIDE)


@pytest.fixture
def batch(picture):
    """Four photos, and targets by which they can be told."""
    photos = np.stack([picture(SIDE, SIDE, seed) for seed in range(4)])
    return tf.constant(photos, tf.float32), tf.eye(4)


def columns(values):
    """A photo of SIDE equal rows."""
    return np.tile(np.asarray(values, np.float32)[None, :, None], (SIDE, 1, 3))


def flat(*colour):
    return np.full((SIDE, SIDE, 3), colour, np.float32)


def through_tf_data(function, *arguments):
    """What a function gives inside tf.data; None stands for no result."""
    dataset = tf.data.Dataset.from_tensors(arguments).map(function)
    return next(iter(dataset))


# One call of each op, as a function of a float32 photo.
OPS = {
    "mirror": augment.mirror,
    "resize": lambda image: augment.resize(image[2:13, 1:12], SIDE),
    "relight": lambda image: augment.relight(image, 1.3, tf.constant([0.9, 1.0, 1.2])),
    "saturate": lambda image: augment.saturate(image, 1.7),
    "posterize": lambda image: augment.posterize(image, 3),
    "solarize": lambda image: augment.solarize(image, 100.0),
    "autocontrast": augment.autocontrast,
    "move": lambda image: augment.move(image, 0.3, [0.1, -0.2], [0.1, 0.05]),
    "erase": lambda image: augment.erase(image, 2, 3, 5, 7),
}


@pytest.mark.parametrize("op", list(OPS))
def test_an_op_does_the_same_eagerly_and_in_tf_data(op, photo):
    image = tf.constant(photo, tf.float32)

    eager = OPS[op](image)

    assert eager.shape == (SIDE, SIDE, 3)
    assert np.allclose(eager, through_tf_data(OPS[op], image), atol=1e-3)
    assert not np.allclose(eager, image, atol=1)
    assert float(tf.reduce_min(eager)) >= 0.0
    assert float(tf.reduce_max(eager)) <= 255.0


@pytest.mark.parametrize("policy", list(augment.POLICIES))
def test_a_policy_does_the_same_eagerly_and_in_tf_data(policy, photo):
    seeds = [[seed, 5] for seed in range(SEEDS)]
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    in_graph = list(dataset.map(lambda seed: augment.apply(policy, photo, seed)))

    for seed, other in zip(seeds, in_graph, strict=True):
        eager = augment.apply(policy, photo, seed)
        assert (eager.shape, eager.dtype) == ((SIDE, SIDE, 3), tf.float32)
        assert float(tf.reduce_min(eager)) >= 0.0
        assert float(tf.reduce_max(eager)) <= 255.0
        # A rounding may lift a number over a step of posterizing; it is one number.
        assert np.mean(np.abs(eager - other) > 1e-3) < 0.01


@pytest.mark.parametrize("policy", [name for name in augment.POLICIES if name != "none"])
def test_a_policy_hangs_on_its_seed_alone(policy, photo):
    first, again = (augment.apply(policy, photo, [3, 4]) for _ in range(2))
    others = [augment.apply(policy, photo, seed) for seed in ([4, 4], [3, 5], [4, 3])]

    assert np.array_equal(first, again)
    assert all(not np.allclose(first, other, atol=1) for other in others)


@pytest.mark.parametrize("policy", list(augment.POLICIES))
def test_a_policy_takes_bytes_as_it_takes_floats(policy, photo):
    for seed in range(6):
        of_bytes = augment.apply(policy, photo, [seed, 0])
        of_floats = augment.apply(policy, photo.astype(np.float32), [seed, 0])
        assert np.allclose(of_bytes, of_floats, atol=1e-3)


def test_none_changes_nothing(photo):
    assert np.array_equal(augment.apply("none", photo, [1, 2]), photo)


def test_an_unknown_policy_is_answered_with_those_known(photo):
    with pytest.raises(ValueError, match="'wild'; known: none, light, standard, randaugment"):
        augment.apply("wild", photo, [0, 0])


@pytest.mark.parametrize("policy", ["light", "standard", "randaugment", "identity"])
def test_every_other_photo_is_mirrored(policy):
    slope = columns(np.arange(SIDE) * 12.0 + 30)
    changed = [augment.apply(policy, slope, [seed, 0]) for seed in range(60)]

    rising = sum(float(tf.reduce_sum(image[:, -4:] - image[:, :4])) > 0 for image in changed)

    assert 15 <= rising <= 45


@pytest.mark.parametrize(("policy", "least"), [("light", 0.85), ("standard", 0.7)])
def test_crops_are_no_smaller_than_a_policy_says(policy, least):
    side = 100
    ramp = np.tile(np.arange(side, dtype=np.float32)[None, :, None], (side, 1, 3))

    spans = []
    for seed in range(SEEDS):
        image = augment._cut_as_drawn(ramp, least, tf.random.stateless_uniform([3], [seed, 1]))
        assert image.shape[0] == image.shape[1]
        assert np.array_equal(image[0, 1:, 0] - image[0, :-1, 0], np.ones(image.shape[1] - 1))
        spans.append(image.shape[0])

    assert augment.get(policy).smallest_crop == least
    assert side * least <= min(spans) < max(spans) <= side


def test_mirror_reverses_the_columns(photo):
    assert np.array_equal(augment.mirror(photo), photo[:, ::-1])


def test_resize_doubles_by_hand():
    # Half-pixel centres: 0 and 100 become 0, 0.75 * 0 + 0.25 * 100, 0.25 * 0 + 0.75 * 100, 100.
    image = np.tile(np.array([0, 100], np.uint8)[None, :, None], (2, 1, 3))

    assert augment.resize(tf.constant(image), 4)[0, :, 0].numpy().tolist() == [0, 25, 75, 100]


def test_relight_by_hand():
    # The mean of 50 and 150 is 100; contrast 1.2 makes them 40 and 160; gains 0.5, 1 and 2 then
    # 20 and 80, 40 and 160, 80 and 320, which is cut to 255.
    image = columns([50.0, 150.0] * 8)

    changed = augment.relight(image, 1.2, tf.constant([0.5, 1.0, 2.0])).numpy()

    assert changed[0, 0] == pytest.approx([20, 40, 80], abs=1e-3)
    assert changed[-1, -1] == pytest.approx([80, 160, 255], abs=1e-3)


def test_saturate_by_hand():
    # The luma of (200, 100, 0) is 0.299 * 200 + 0.587 * 100 = 118.5; half of the way to it from
    # 200, 100 and 0: 159.25, 109.25, 59.25. Twice as far from it: 281.5, 81.5, -118.5, cut.
    image = flat(200, 100, 0)

    assert augment.saturate(image, 0.5)[3, 4].numpy() == pytest.approx([159.25, 109.25, 59.25])
    assert augment.saturate(image, 2.0)[3, 4].numpy() == pytest.approx([255, 81.5, 0], abs=1e-3)
    assert augment.saturate(image, 0.0)[3, 4].numpy() == pytest.approx([118.5] * 3)


def test_posterize_by_hand():
    # Without its four lowest bits 0x7f is 0x70.
    assert augment.posterize(flat(0x7F, 0x80, 0x0F), 4)[0, 0].numpy().tolist() == [0x70, 0x80, 0]


def test_solarize_by_hand():
    assert augment.solarize(flat(99, 100, 255), 100.0)[0, 0].numpy().tolist() == [99, 155, 0]


def test_autocontrast_by_hand():
    # (60 - 40) * 255 / (140 - 40) = 51. The last channel is flat.
    image = columns([40.0, 60.0, 140.0, 60.0] * 4)
    image[..., 2] = 77

    assert augment.autocontrast(image)[0, :3].numpy() == pytest.approx(
        np.array([[0, 0, 77], [51, 51, 77], [255, 255, 77]]), abs=1e-3
    )


def test_move_by_a_quarter_turn(photo):
    # The pixel at (x, y) shows what was at (-y, x): rows become columns.
    turned = augment.move(photo, np.pi / 2, [0.0, 0.0], [0.0, 0.0])

    assert np.array_equal(turned, np.rot90(photo))


def test_move_by_a_quarter_of_the_side(photo):
    moved = augment.move(photo, 0.0, [0.0, 0.0], [0.25, -0.125])

    assert np.array_equal(moved[2:, :12], photo[:-2, 4:])
    assert (moved[:2].numpy() == GREY).all()
    assert (moved[:, 12:].numpy() == GREY).all()


def test_move_by_a_shear_shifts_every_row_by_its_height():
    # Slope 2: the row 2.5 pixels below the centre shows what is 5 pixels further to the right, the
    # row 2.5 above it what is 5 further to the left.
    image = columns(np.arange(SIDE))

    moved = augment.move(image, 0.0, [2.0, 0.0], [0.0, 0.0]).numpy()[..., 0]

    assert moved[10].tolist() == [*range(5, 16), *[GREY] * 5]
    assert moved[5].tolist() == [*[GREY] * 5, *range(11)]


def test_move_by_nothing_is_nothing(photo):
    assert np.array_equal(augment.move(photo, 0.0, [0.0, 0.0], [0.0, 0.0]), photo)


def test_randaugment_moves_only_when_an_operation_does(photo):
    operations = {name: place for place, name in enumerate(augment.OPERATIONS)}
    strengths = tf.constant([0.5, 0.5])

    def moved(*names):
        drawn = tf.constant([operations[name] for name in names])
        return augment._move_as_drawn(photo, drawn, strengths)

    assert np.array_equal(moved("brightness", "identity"), photo)
    # Half of the widest 0.45 of 16 pixels is 3.6: four pixels to the nearest.
    assert np.array_equal(moved("translate_x", "posterize")[:, :12], photo[:, 4:])
    # Both together, in whichever order: 0.45 of 16 pixels is 7.2.
    assert np.array_equal(moved("translate_x", "translate_x")[:, :9], photo[:, 7:])


def test_randaugment_recolours_by_hand():
    image = tf.constant(flat(100, 200, 50))

    def recoloured(name, strength):
        place = tf.constant(augment.OPERATIONS.index(name))
        return augment._recolour_as_drawn(image, place, tf.constant(strength), 0.5)[0, 0].numpy()

    # Half of the widest factor, 0.9, is 0.45; half of four bits two; half of 256 is 128.
    assert recoloured("brightness", -0.5) == pytest.approx([55, 110, 27.5])
    assert recoloured("contrast", 0.5) == pytest.approx([100, 200, 50], abs=1e-3)
    assert recoloured("posterize", 0.5).tolist() == [100, 200, 48]
    assert recoloured("solarize", 0.5).tolist() == [100, 55, 50]
    assert recoloured("rotate", 0.5).tolist() == [100, 200, 50]


def test_erase_changes_a_rectangle_and_nothing_else(photo):
    image = photo.astype(np.float32)
    expected = image.copy()
    expected[2:7, 3:10] = GREY

    assert np.array_equal(augment.erase(image, 2, 3, 5, 7), expected)


@pytest.mark.parametrize("corner", [(0, 0), (11, 9)])
def test_erase_at_the_edge(corner, photo):
    top, left = corner

    erased = augment.erase(photo.astype(np.float32), top, left, 5, 7).numpy()

    assert (erased[top : top + 5, left : left + 7] == GREY).all()
    assert np.count_nonzero((erased != photo).any(axis=-1)) <= 35


def test_half_of_the_identity_photos_have_a_rectangle_of_the_sides_that_the_policy_says():
    white = np.full((100, 100, 3), 255, np.uint8)

    sizes = []
    for seed in range(60):
        grey = (augment.apply("identity", white, [seed, 0]).numpy() == GREY).all(axis=-1)
        rows, across = grey.any(axis=1).sum(), grey.any(axis=0).sum()
        assert grey.sum() == rows * across
        sizes += [rows, across] if grey.any() else []

    assert 40 <= len(sizes) <= 80
    assert 15 <= min(sizes) < 22
    assert 38 < max(sizes) <= 45


@pytest.mark.parametrize("kind", augment.MIXES)
def test_mix_does_the_same_eagerly_and_in_tf_data(kind, batch):
    for seed in range(6):
        eager = augment.mix(kind, *batch, [seed, 1])
        in_graph = through_tf_data(lambda *two, s=seed: augment.mix(kind, *two, [s, 1]), *batch)
        for one, other, before in zip(eager, in_graph, batch, strict=True):
            assert one.shape == other.shape == before.shape
            assert np.allclose(one, other, atol=1e-3)
        assert np.allclose(tf.reduce_sum(eager[1], axis=1), 1.0)
        assert float(tf.reduce_min(eager[0])) >= 0.0
        assert float(tf.reduce_max(eager[0])) <= 255.0


def test_mix_of_none_changes_nothing(batch):
    images, targets = augment.mix("none", *batch, [0, 0])

    assert np.array_equal(images, batch[0])
    assert np.array_equal(targets, batch[1])


def test_mix_of_an_unknown_kind_is_answered_with_those_known(batch):
    with pytest.raises(ValueError, match="'blend'; known: none, mixup, cutmix, both"):
        augment.mix("blend", *batch, [0, 0])


def test_both_takes_each_of_the_two_kinds(batch):
    def is_mixup(seed):
        """Whether all pixels are faded alike, by what the target says."""
        images, targets = augment.mix("both", *batch, [seed, 0])
        faded, _ = augment.mixup(*batch, targets[0, 0])
        return np.allclose(images, faded, atol=0.5)

    assert 5 <= sum(is_mixup(seed) for seed in range(SEEDS)) <= SEEDS - 5


def test_mixup_by_hand(batch):
    # A quarter of each photo, three quarters of the one before it; before the first is the last.
    photos = batch[0].numpy()

    images, targets = augment.mixup(*batch, 0.25)

    assert np.allclose(images[1], 0.25 * photos[1] + 0.75 * photos[0], atol=1e-3)
    assert np.allclose(images[0], 0.25 * photos[0] + 0.75 * photos[3], atol=1e-3)
    assert targets[1].numpy().tolist() == [0.75, 0.25, 0, 0]
    assert targets[0].numpy().tolist() == [0.25, 0, 0, 0.75]


def test_cutmix_by_hand(batch):
    # A quarter of 16 x 16 pixels is 8 x 8; about (8, 4) it takes rows 4 to 11, columns 0 to 7.
    expected = batch[0].numpy().copy()
    expected[1, 4:12, 0:8] = batch[0][0, 4:12, 0:8]

    images, targets = augment.cutmix(*batch, 0.75, tf.constant([0.5, 0.25]))

    assert np.array_equal(images[1], expected[1])
    assert targets[1].numpy().tolist() == [0.25, 0.75, 0, 0]


def test_cutmix_counts_only_the_area_inside_the_frame(batch):
    # The same part about the corner: 4 x 4 pixels of it are inside, a sixteenth.
    images, targets = augment.cutmix(*batch, 0.75, tf.constant([0.0, 0.0]))

    changed = (images[1] != batch[0][1]).numpy().any(axis=-1)
    assert not changed[4:].any()
    assert not changed[:, 4:].any()
    assert targets[1].numpy().tolist() == [1 / 16, 15 / 16, 0, 0]


def test_shares_of_mixup_are_near_the_ends_and_those_of_cutmix_anywhere():
    # Beta(0.2, 0.2) has variance 0.25 / 1.4 = 0.179, Beta(1, 1) 1 / 12 = 0.083; both mean 1/2.
    for alpha, variance in ((0.2, 0.179), (1.0, 0.083)):
        shares = [float(augment._beta(alpha, [seed, 0])) for seed in range(300)]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.08)
        assert np.var(shares) == pytest.approx(variance, abs=0.03)
