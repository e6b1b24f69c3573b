"""What holds for any weights: bounds are bounds, boxes meet, finished tasks keep theirs."""

import keras
import numpy as np
import pytest
from gradients import array
from keras import layers

from hyperkeras.layers import DenseHead, LowRankHead
from hyperkeras.models import Hypernetwork, IntervalHypernetwork, IntervalRamp

rng = np.random.default_rng(0)
# Compiling by XLA takes TensorFlow seconds for each model.
JIT = "auto" if keras.backend.backend() == "jax" else False
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def chain():
    return keras.Sequential([keras.Input((4,)), layers.Dense(5, "relu"), layers.Dense(3)])


def graph():
    """A target with every kind of layer that has bounds, in two branches."""
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(3, 3, padding="same", activation="tanh")(x)
    z = layers.ReLU()(layers.Conv2D(3, 1, use_bias=False)(x))
    y = layers.MaxPooling2D()(layers.Add()([y, z]))
    inner = keras.Sequential([keras.Input((3, 3, 3)), layers.Conv2D(2, 2), layers.Flatten()])
    y = layers.Activation("sigmoid")(inner(y))
    z = layers.Reshape((3,))(layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2)(z)))
    y = layers.Add()([layers.Dense(3)(y), layers.Dense(3, "leaky_relu")(z)])
    return keras.Model(x, y)


def body():
    return keras.Sequential([layers.Dense(6, "relu"), layers.Dense(5, "tanh")])


def model_of(target=chain, x_shape=(4,), **arguments):
    model = IntervalHypernetwork(target(), body(), 3, 5, **arguments)
    model.build([(None,), (None, *x_shape)])
    for weight in model.trainable_weights:
        weight.assign(array(weight) + 0.3 * normal(*weight.shape))
    return model


def inside(lower, upper):
    """A point of a box, of which about half of the numbers are at one end."""
    share = np.clip(rng.uniform(-0.5, 1.5, size=lower.shape), 0, 1)
    return (lower + share * (upper - lower)).astype(lower.dtype)


def put(model, flat):
    """Sets all weights of a model, one after the other in a row."""
    ends = np.cumsum([int(np.prod(w.shape)) for w in model.weights])[:-1]
    for weight, part in zip(model.weights, np.split(flat, ends), strict=True):
        weight.assign(part.reshape(weight.shape))


@pytest.mark.parametrize("target, x_shape", [(chain, (4,)), (graph, (6, 6, 2))])
@pytest.mark.parametrize("epsilon", [0.1, 2.0])
def test_logits_of_weights_in_the_box_stay_within_bounds(target, x_shape, epsilon):
    model = model_of(target, x_shape, epsilon=epsilon, nested=epsilon > 1)
    given = [np.array([1]), normal(3, *x_shape)]
    lower, upper = (array(a) for a in model.bounds(given))
    low, high = (array(a)[0] for a in model.generate_bounds(np.array([1])))
    slack = 1e-5 * max(1, np.abs(lower).max(), np.abs(upper).max())
    outputs, plain = [array(model(given))], model.materialize(given[0])  # of the middle
    for weights in [low, high, *(inside(low, high) for _ in range(20))]:
        put(plain, weights)
        outputs.append(array(plain(given[1])))
    for y in outputs:
        assert (y >= lower - slack).all() and (y <= upper + slack).all()
    assert (upper - lower > 1e-3).all()


def test_weights_of_embeddings_in_the_box_stay_in_theirs():
    model = model_of(epsilon=1.5)
    box = [array(a)[0] for a in model._embedding_box(np.array([2]))]
    lower, upper = (array(a)[0] for a in model.generate_bounds(np.array([2])))
    points = np.stack([inside(*box) for _ in range(50)])
    weights = array(model.generate_flat(points))
    assert (weights >= lower - 1e-5).all() and (weights <= upper + 1e-5).all()
    np.testing.assert_allclose(
        array(model.generate_flat(np.array([2])))[0], (lower + upper) / 2, atol=1e-6
    )


@pytest.mark.parametrize("target, x_shape", [(chain, (4,)), (graph, (6, 6, 2))])
def test_without_extent_it_is_the_plain_hypernetwork(target, x_shape):
    model, x = model_of(target, x_shape, epsilon=0.0), normal(3, *x_shape)
    plain = Hypernetwork(target(), body())
    embedding = array(model.embeddings)[1:2]
    plain([embedding, x])
    for part in ("body", "head"):
        getattr(plain, part).set_weights(getattr(model, part).get_weights())
    y, task = array(plain([embedding, x])), np.array([1])
    for found in (model([task, x]), model([embedding, x]), *model.bounds([task, x])):
        np.testing.assert_allclose(array(found), y, atol=1e-5)


def test_one_network_lies_in_all_nested_boxes():
    model, x = model_of(epsilon=3.0, nested=True), normal(200, 4)
    for part in (model.head.kernel, model.body.layers[0].kernel):
        part.assign(0.1 * array(part))  # narrow boxes, so that something is certified
    with pytest.raises(ValueError, match="to have finished a task"):
        model.universal_condition()
    for _ in range(3):
        model.finish_task()
    one = model.universal_condition()
    assert one.shape == (1, 5)
    weights, y = array(model.generate_flat(one))[0], array(model.materialize(one)(x))
    np.testing.assert_allclose(array(model([one, x])), y, atol=1e-5)
    certified = 0
    for task in range(3):
        lower, upper = (array(a)[0] for a in model.generate_bounds(np.array([task])))
        assert (weights >= lower - 1e-5).all() and (weights <= upper + 1e-5).all()
        lower, upper = (array(a) for a in model.bounds([np.array([task]), x]))
        for label in range(3):  # right for all networks in the box, so for this one
            others = np.delete(upper, label, axis=1).max(axis=1)
            sure = lower[:, label] > others + 1e-4
            assert (y[sure].argmax(axis=1) == label).all()
            certified += sure.sum()
    assert certified  # else this shows nothing


def test_free_boxes_may_be_apart():
    model = model_of(epsilon=0.1)
    model.embeddings.assign(np.eye(3, 5))
    for _ in range(2):
        model.finish_task()
    np.testing.assert_allclose(array(model.universal_condition())[0, :2], 0.5, atol=0.05)
    model.finish_task()
    with pytest.raises(ValueError, match="at most 3 finished tasks"):
        model.finish_task()


def crossentropy(z, y):
    z = z.astype("float64")
    return np.log(np.exp(z).sum(-1)) - z[np.arange(len(y)), y]


@pytest.mark.parametrize("nested", [False, True])
def test_the_loss_is_that_of_the_equation(nested):
    model = model_of(epsilon=0.5, nested=nested, kappa=0.7, beta=0.3)
    x, y = normal(6, 4), rng.integers(0, 3, 6)
    model.finish_task()
    model.finish_task()
    kept = array(model.realizations)
    model.head.bias.assign(array(model.head.bias) + 0.1 * normal(*model.head.bias.shape))
    change = 0.0
    for task in range(2):
        lower, upper = (array(a)[0] for a in model.generate_bounds(np.array([task])))
        middle = (lower + upper) / 2
        now = np.stack([lower, middle, upper] if nested else [middle])
        change += ((now - kept[task]) ** 2).sum() / 2 / len(now)
    given = [np.full(6, 2), x]
    lower, upper = (array(a) for a in model.bounds(given))
    worst = upper.copy()
    worst[np.arange(6), y] = lower[np.arange(6), y]
    middle = crossentropy(array(model(given)), y).mean()
    expected = 0.7 * middle + 0.3 * crossentropy(worst, y).mean() + 0.3 * change
    assert change > 0.01
    one_hot = keras.losses.CategoricalCrossentropy(from_logits=True)
    for loss, labels in ((CROSSENTROPY, y), (CROSSENTROPY, y[:, None]), (one_hot, np.eye(3)[y])):
        model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
        np.testing.assert_allclose(float(model.train_on_batch(given, labels)), expected, rtol=1e-4)
        evaluated = model.evaluate(given, labels, verbose=0)  # of the middle alone
        np.testing.assert_allclose(evaluated, middle, rtol=1e-4)


class Watch(keras.callbacks.Callback):
    """Notes what holds in each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        values = self.model.epsilon_share, self.model.current_kappa
        self.seen.append([float(array(value)) for value in values])


def test_boxes_grow_in_training():
    model = model_of(epsilon=2.0, kappa=0.5)
    x, y, task = normal(12, 4), rng.integers(0, 3, 12), np.array([0])
    bounds = [array(a) for a in model.bounds([task, x])]
    model.compile(keras.optimizers.SGD(0.0), CROSSENTROPY, jit_compile=JIT)
    callbacks = [IntervalRamp(3, kappa_decay=0.3), Watch()]
    model.fit([task, x], y, batch_size=2, verbose=0, callbacks=callbacks)
    expected = [(0, 1), (0.5, 0.7), (1, 0.5), (1, 0.5), (1, 0.5), (1, 0.5)]
    np.testing.assert_allclose(callbacks[1].seen, expected, atol=1e-6)
    # At the first step boxes are points: the worst case is the embedding's.
    model.epsilon_share.assign(0.0)
    model.current_kappa.assign(0.0)
    loss = float(model.train_on_batch([np.zeros(12, "int32"), x], y))
    point = crossentropy(array(model([array(model.embeddings)[:1], x])), y).mean()
    np.testing.assert_allclose(loss, point, rtol=1e-4)
    # Outside training they have their full size.
    np.testing.assert_allclose([array(a) for a in model.bounds([task, x])], bounds)
    halves = [array(a) for a in model.bounds([task, x], share=0.5)]
    assert (bounds[0] < halves[0]).all() and (halves[1] < bounds[1]).all()
    with pytest.raises(ValueError, match="`steps`, expected an integer of at least 1"):
        IntervalRamp(0)


@pytest.mark.parametrize("nested", [False, True])
def test_training_moves_no_finished_box(nested):
    """Even with an optimizer that remembers the gradients of the task before."""
    model = model_of(epsilon=0.5, nested=nested, beta=1.0)
    model.compile(keras.optimizers.Adam(0.05), CROSSENTROPY, metrics=["accuracy"], jit_compile=JIT)
    x, y = normal(32, 4), rng.integers(0, 3, (2, 32))
    ramp = IntervalRamp(2)
    model.fit([np.array([0]), x], y[0], epochs=3, verbose=0, callbacks=[ramp])
    before = [array(a) for a in model._embedding_box(np.arange(3))]
    model.finish_task()
    model([np.array([1]), x], training=True)
    assert float(array(sum(model.losses))) < 1e-8  # nothing has changed yet
    history = model.fit([np.array([1]), x], y[1], epochs=3, verbose=0, callbacks=[ramp])
    assert np.isfinite(history.history["loss"]).all()
    after = [array(a) for a in model._embedding_box(np.arange(3))]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a[0], b[0], atol=1e-6)
        assert np.abs(a[1] - b[1]).max() > 1e-3
    model([np.array([1]), x], training=True)
    assert float(array(sum(model.losses))) > 1e-6


def test_files_keep_the_boxes(tmp_path):
    model, x = model_of(graph, (6, 6, 2), epsilon=0.7, nested=True), normal(2, 6, 6, 2)
    model.finish_task()
    model.embeddings.assign(normal(3, 5))  # task 0 keeps its box
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    arguments = {"epsilon": 0.7, "nested": True, "num_tasks": 3, "embedding_dim": 5}
    arguments |= {"kappa": 0.5, "beta": 0.01}
    assert loaded.get_config().items() >= arguments.items()
    assert len(loaded.get_config()) == len(model.get_config())
    for task in range(2):
        given = [np.array([task]), x]
        for a, b in zip(model.bounds(given), loaded.bounds(given), strict=True):
            np.testing.assert_allclose(array(a), array(b), atol=1e-5)
    np.testing.assert_array_equal(array(model.realizations), array(loaded.realizations))
    np.testing.assert_allclose(
        array(model.universal_condition()), array(loaded.universal_condition()), atol=1e-6
    )


class Own(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.dense = layers.Dense(3)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return -self.dense(x)


def own():
    model = Own()
    model.build((None, 4))
    return model


def ending(*operations):
    """Makes a model that ends in an operation."""

    def make():
        x = keras.Input((4,))
        y = layers.Dense(3)(x)
        for operation in operations:
            y = operation()(y)
        return keras.Model(x, y)

    return make


@pytest.mark.parametrize(
    "target, why",
    [
        (ending(lambda: layers.BatchNormalization(name="norm")), "'norm' of class BatchNorm"),
        (ending(lambda: layers.Dense(2, "softmax", name="end")), "'end'.*'softmax'"),
        (ending(lambda: lambda y: keras.ops.subtract(y, 1.0)), "operations.*subtract"),
        (ending(lambda: layers.Dense(2, kernel_constraint="non_neg", name="pos")), "'pos'"),
        (ending(lambda: layers.Dense(2, name="half", dtype="mixed_bfloat16")), "'half'"),
        (ending(lambda: layers.Dropout(0.5, name="drop")), "'drop' of class Dropout"),
        (own, "'own' of class Own"),
    ],
)
def test_refuses_layers_without_bounds_by_name(target, why):
    with pytest.raises(ValueError, match=f"`target` to be made of layers.*{why}"):
        IntervalHypernetwork(target(), body(), 3, 5)


def test_refuses_what_it_cannot_use():
    model = IntervalHypernetwork(chain(), keras.layers.Dense(2, "softmax", name="soft"), 3, 5)
    with pytest.raises(ValueError, match="`body` to be made of layers.*'soft'"):
        model([np.array([0]), normal(2, 4)])
    model = model_of()
    for condition, why in (
        (np.array([3]), "tasks from 0 to 2"),
        (normal(1, 4), r"embeddings of shape \[c, 5\]"),
    ):
        with pytest.raises(ValueError, match=why):
            model([condition, normal(2, 4)])
    for arguments, why in (
        ({"head": LowRankHead(2)}, "`head`, expected a DenseHead"),
        ({"head": DenseHead(normalize=True)}, "without `normalize`"),
        ({"epsilon": -1.0}, "`epsilon`"),
        ({"kappa": 1.5}, "`kappa`, expected a number between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=why):
            model_of(**arguments)


@pytest.mark.parametrize("part", ["target", "body"])
@pytest.mark.parametrize("change", ["lora", "int8"])
def test_refuses_layers_that_were_changed_since(part, change):
    model = model_of()
    inputs = [np.array([0]), normal(2, 4)]
    model(inputs)
    network = getattr(model, part)
    layer = next(one for one in network._flatten_layers() if hasattr(one, "enable_lora"))
    layer.enable_lora(2) if change == "lora" else layer.quantize("int8")
    with pytest.raises(ValueError, match="LoRA or quantized|LoRA factors beside|`quantize`"):
        model(inputs)


def test_refuses_to_be_quantized():
    model = model_of()
    model([np.array([0]), normal(2, 4)])
    with pytest.raises(ValueError, match="to stay in full precision"):
        model.quantize("int8")


def test_embeddings_start_as_normal_numbers():
    model = IntervalHypernetwork(chain(), body(), 40, 25)
    model.build([(None,), (None, 4)])
    numbers = array(model.embeddings)
    assert abs(numbers.mean()) < 0.1 and 0.9 < numbers.std() < 1.1
