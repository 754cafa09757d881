"""Optimizers: PyTorch's and optax's trajectories, the formulas in NumPy, vectors of every length, states, refusals."""

import inspect
import json

import numpy as np
import pytest

import fastbp
from fastbp import optim
from fastbp.errors import InputError
from fastbp.kernels.structures import RULE_CONSTANTS
from fastbp.kernels.training import rules
from fastbp.kernels.training.update import PIECE
from fastbp.optim import makers
from fastbp.optim.optimizer import COMMON as COMMON_OPTIONS
from fastbp.optim.optimizer import kernel_of
from fastbp.training.batches import BatchSource
from fastbp.training.steps import Descent
from tests.optim.record_optimizers import FILE, OPTAX, RECORDED_STEPS, START, TORCH, gradient

DTYPES = (np.float64, np.float32)
RECORDED = json.loads(FILE.read_text())
TRAJECTORIES = {**RECORDED["PyTorch"]["trajectories"], **RECORDED["optax"]["trajectories"]}
RECORDED_CASES = {name: ours for name, (ours, _) in {**TORCH, **OPTAX}.items()}

# Every rule once, without common options: all start from learning rates that move a number of size 1 visibly.
RULES = {
    "sgd": optim.sgd(0.1),
    "momentum": optim.sgd(0.1, momentum=0.9),
    "nesterov": optim.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optim.adam(0.1),
    "nadam": optim.nadam(0.1),
    "amsgrad": optim.amsgrad(0.1, beta2=0.5),
    "rmsprop": optim.rmsprop(0.1, momentum=0.5),
    "adagrad": optim.adagrad(0.1),
    "rprop": optim.rprop(0.1),
    "lion": optim.lion(0.1),
}
NET = fastbp.MLP((3, 5, 4, 2), loss="squared_error")


def gradients(n, n_steps, dtype=np.float64):
    return np.random.default_rng(n).standard_normal((n_steps, n)).astype(dtype)


def run(optimizer, vector, grads, state=None):
    """(parameters, state) after a step for each of the gradients."""
    vector = vector.copy()
    state = optimizer.init(vector) if state is None else state
    for grad in grads:
        optimizer.update(vector, grad, state)
    return vector, state


def in_numpy(optimizer, vector, grads):
    """The same from the rule's formula on whole arrays: (parameters, moments)."""
    code = rules.NAMES[optimizer.init(vector).record.rule]
    rule, dtype = getattr(rules, code), vector.dtype.type
    moments = np.zeros((3, vector.size), dtype)
    n_moments = len(optimizer.init(vector).moments)
    moments[:n_moments] = optimizer.init(vector).moments
    for row, grad in zip(optimizer.constants(0, len(grads)), grads, strict=True):
        constants = [dtype(row[name]) for name in RULE_CONSTANTS]
        vector, *moments = rule(vector * dtype(row["shrink"]), grad, *moments, *constants)
    return vector, np.array(moments[:n_moments])


def assert_close(got, wanted, n_roundings=8):
    """Within a few roundings of the numbers that were added up; multiplied and added, the twin rounds once more."""
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(got, wanted, rtol=0, atol=n_roundings * np.finfo(got.dtype).eps * np.abs(wanted).max())


# -- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RECORDED_CASES)
def test_trajectories_are_those_of_pytorch_and_optax(name, dtype):
    """The parameters after 1 and 15 steps with the same gradients; versions stand beside the values."""
    optimizer, vector = RECORDED_CASES[name](optim), START.astype(dtype)
    state, wanted = optimizer.init(vector), dict(zip(RECORDED_STEPS, TRAJECTORIES[name], strict=True))
    for step in range(max(RECORDED_STEPS)):
        optimizer.update(vector, gradient(step).astype(dtype), state)
        if step + 1 in wanted:
            tolerance = 1e-12 if dtype == np.float64 else 1e-5
            np.testing.assert_allclose(vector, wanted[step + 1], rtol=tolerance, atol=tolerance)


def test_every_maker_and_every_rule_is_recorded():
    """No optimizer, and no code of the kernel, without a trajectory of another library."""
    made = [ours(optim) for ours in RECORDED_CASES.values()]
    assert {optimizer.name for optimizer in made} == set(makers.MAKERS) - {"adamw"}  # which is adam
    assert {rules.NAMES[optimizer.init(START).record.rule] for optimizer in made} == set(rules.NAMES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_vectors_of_every_length(name, dtype):
    """The kernel is the formula in NumPy for 1 to 70 elements and around a piece; after the end nothing is written."""
    optimizer = RULES[name]
    for n in (*range(1, 71), PIECE - 1, PIECE, PIECE + 1, 20_000):
        grads = gradients(n, 3, dtype)
        start = np.random.default_rng(n).uniform(1, 2, n).astype(dtype)
        state = optimizer.init(start)
        # Parameters and moments lie at odd places of larger arrays, between guards.
        places = {"vector": start, "memory": state.memory}
        buffers = {name: np.full(array.size + 67, 7.25, dtype) for name, array in places.items()}
        views = {name: buffers[name][3 : 3 + array.size] for name, array in places.items()}
        for view, array in zip(views.values(), places.values(), strict=True):
            view[...] = array
        state.record.moments_address = views["memory"].ctypes.data
        vector = views["vector"]
        for grad in grads:
            optimizer.update(vector, grad, state)
        wanted, moments = in_numpy(optimizer, start, grads)
        assert_close(vector, wanted)
        for got, moment in zip(views["memory"].reshape(moments.shape), moments, strict=True):
            assert_close(got, moment)
        for name_, buffer in buffers.items():
            assert (buffer[:3] == 7.25).all(), name_
            assert (buffer[3 + views[name_].size :] == 7.25).all(), name_


@pytest.mark.parametrize("n", [1, 16, 21, 64, 100])
def test_what_is_not_finite_is_reported(n):
    """The kernel's status is 1 for a NaN or infinity anywhere in the gradient or the parameters; 0 for none."""
    optimizer, grad = optim.sgd(0.1), np.ones(n, np.float32)
    step, constants = kernel_of(grad.dtype), optimizer.constants(0, 1)
    for place in range(n):
        for bad in (np.nan, np.inf, -np.inf):
            broken = np.where(np.arange(n) == place, bad, grad).astype(np.float32)
            for vector, gradient_ in ((grad.copy(), broken), (broken, grad)):
                state = optimizer.init(vector)
                assert step(state.address, constants.ctypes.data, vector, gradient_) == 1
    state = optimizer.init(grad)
    assert step(state.address, constants.ctypes.data, grad.copy(), grad) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_each_element_is_stepped_by_itself(name, dtype):
    """Part of a vector gets the bits it has within the whole."""
    n = 100
    start, grads = np.ones(n, dtype), gradients(n, 5, dtype)
    whole, _ = run(RULES[name], start, grads)
    for first, last in ((0, 1), (1, 18), (37, 100)):
        part, _ = run(RULES[name], start[first:last].copy(), [grad[first:last].copy() for grad in grads])
        np.testing.assert_array_equal(part, whole[first:last])


# -- common options ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 64, 8193, 20_000])
@pytest.mark.parametrize("largest", [0.5, 2.0, 1e6])
def test_clip_norm(n, largest, dtype):
    """g min(1, clip_norm / |g|) of the whole gradient, the norm summed in float64."""
    (grad,), start = gradients(n, 1, dtype), np.zeros(n, dtype)
    norm = np.linalg.norm(grad.astype(np.float64))
    wanted = -(grad.astype(np.float64) * min(1.0, largest / norm))
    got, _ = run(optim.sgd(1.0, clip_norm=largest), start, [grad])
    np.testing.assert_allclose(got, wanted, rtol=1e-12 if dtype == np.float64 else 1e-5)
    if norm <= largest:
        np.testing.assert_array_equal(got, -grad)


@pytest.mark.parametrize("size", [1e18, 1e20, 1e30, 1e37])
def test_the_norm_of_a_large_gradient_does_not_overflow(size):
    """Squares beyond float32's range: the step has the length of clip_norm nevertheless."""
    grad = (size * np.linspace(-1, 2, 100)).astype(np.float32)
    got, _ = run(optim.sgd(1.0, clip_norm=3.0), np.zeros(100, np.float32), [grad])
    assert np.linalg.norm(got.astype(np.float64)) == pytest.approx(3.0, rel=1e-5)
    np.testing.assert_allclose(got / got[-1], grad / grad[-1], rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RULES)
def test_weight_decay_is_beside_the_step(name, dtype):
    """p - rate weight_decay p before the step, which does not see it; of a bare vector all elements."""
    optimizer = optim.as_optimizer(RULES[name])
    decaying = optim.Optimizer(optimizer.name, optimizer.schedule, optimizer.options, weight_decay=0.5)
    grads = gradients(21, 4, dtype)
    got, state = run(decaying, START.astype(dtype), grads)
    assert_close(got, in_numpy(decaying, START.astype(dtype), grads)[0])
    np.testing.assert_array_equal(state.moments, run(optimizer, START.astype(dtype), grads)[1].moments)
    still, _ = run(optim.sgd(0.1, weight_decay=0.5), START.astype(dtype), np.zeros((1, 21), dtype))
    assert_close(still, START.astype(dtype) * dtype(1 - 0.1 * 0.5), 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_biases_do_not_decay(dtype, bias):
    """With Parameters, weights shrink by 1 - rate weight_decay at a gradient of zero, and biases stay, bit for bit."""
    net = fastbp.MLP((3, 17, 1, 40, 2), bias=bias)
    params = net.init(0, dtype=dtype)
    params.vector[...] = np.random.default_rng(0).standard_normal(params.vector.size)
    moved, optimizer = params.copy(), optim.adamw(0.5, weight_decay=0.25)
    optimizer.update(moved.vector, np.zeros_like(moved.vector), optimizer.init(params))
    for got, before in zip(moved.weights, params.weights, strict=True):
        np.testing.assert_array_equal(got, before * dtype(0.875))
    for got, before in zip(moved.biases, params.biases, strict=True):
        np.testing.assert_array_equal(got, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 7, 21, 100])
@pytest.mark.parametrize("name", ["sgd", "adam", "amsgrad"])
def test_average(name, n, dtype):
    """a <- 0.9 a + 0.1 p from a = p at the start; parameters and moments are those without an average."""
    plain = RULES[name]
    averaging = optim.Optimizer(plain.name, plain.schedule, plain.options, ema_decay=0.9)
    start, grads = np.linspace(-1, 1, n).astype(dtype), gradients(n, 6, dtype)
    wanted = start.astype(np.float64)
    vector, state = start.copy(), averaging.init(start)
    np.testing.assert_array_equal(state.ema, start)
    for step, grad in enumerate(grads, start=1):
        averaging.update(vector, grad, state)
        wanted = 0.9 * wanted + 0.1 * vector
        assert step == state.step
    np.testing.assert_allclose(state.ema, wanted, atol=1e-14 if dtype == np.float64 else 1e-5)
    plain_vector, plain_state = run(plain, start, grads)
    np.testing.assert_array_equal(vector, plain_vector)
    np.testing.assert_array_equal(state.moments, plain_state.moments)
    assert plain_state.ema is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_schedule_gives_each_step_its_rate(dtype):
    """Step t, counted from 0, takes schedule(t), for the step as for the decay."""
    schedule, n_steps = optim.cosine(0.5, 5), 7
    grads, wanted = gradients(21, n_steps, dtype), START.astype(dtype)
    got, _ = run(optim.sgd(schedule, weight_decay=0.1), wanted, grads)
    for rate, grad in zip(schedule(np.arange(n_steps)), grads, strict=True):
        wanted = wanted * dtype(1 - rate * 0.1) - dtype(rate) * grad
    assert_close(got, wanted)


# -- states ------------------------------------------------------------------------------------------------------------

SCHEDULES = (
    0.05,
    *(
        optim.step_decay(0.05, 3),
        optim.exponential(0.05, 0.9),
        optim.cosine(0.05, 20, 0.01),
        optim.inverse_scaling(0.05),
    ),
    *(optim.warmup_cosine(0.05, 3, 20), optim.one_cycle(0.05, 20), optim.reduce_on_plateau(0.05, patience=0)),
)
COMMON = ({}, {"clip_norm": 1.0, "weight_decay": 0.1, "ema_decay": 0.9})
MADE = [
    makers.MAKERS[name](*([] if name == "rprop" else [rate]), **common)
    for name in makers.MAKERS
    for rate in (SCHEDULES if name in ("sgd", "adam") else SCHEDULES[:2])
    for common in COMMON
]


@pytest.mark.parametrize("optimizer", MADE, ids=str)
def test_a_state_goes_on_from_its_meta_and_from_a_copy(optimizer):
    """Steps after to_meta and from_meta, through JSON but for the arrays, or after copy, have the bits of one run."""
    params = NET.init(0, dtype=np.float64)
    grads = gradients(params.vector.size, 8)
    whole, whole_state = params.copy(), optimizer.init(params)
    for k, grad in enumerate(grads):
        if k == 4:
            meta = {**whole_state.to_meta(), "memory": whole_state.memory.copy()}
            values = json.loads(json.dumps({name: value for name, value in meta.items() if name != "memory"}))
            parts = [whole.copy(), whole.copy()]
            states = [whole_state.copy(), optim.OptimizerState.from_meta(whole, {**values, "memory": meta["memory"]})]
        optimizer.update(whole.vector, grad, whole_state)
        whole_state.observe(1.0)
    for part, state in zip(parts, states, strict=True):
        assert state.step == 4
        for grad in grads[4:]:
            state.optimizer.update(part.vector, grad, state)
            state.observe(1.0)
        np.testing.assert_array_equal(part.vector, whole.vector)
        np.testing.assert_array_equal(state.memory, whole_state.memory)
        assert (state.step, state.scale) == (whole_state.step, whole_state.scale)


@pytest.mark.parametrize("optimizer", MADE, ids=str)
def test_optimizers_are_values(optimizer):
    """Equal to what their dictionary, through JSON, makes again, hashable, and written as the call that made them."""
    again = optim.Optimizer.from_dict(json.loads(json.dumps(optimizer.to_dict())))
    assert again == optimizer
    assert hash(again) == hash(optimizer)
    assert repr(again) == repr(optimizer)
    assert eval(repr(optimizer), vars(optim)) == optimizer
    assert optim.as_optimizer(optimizer) is optimizer
    assert optim.as_optimizer(optimizer.name) == makers.MAKERS[optimizer.name]()


def test_a_copy_shares_nothing():
    """Stepping the one leaves the other as it was; assign makes it the same again."""
    optimizer, grads = optim.adam(0.1, ema_decay=0.5), gradients(21, 3)
    _, state = run(optimizer, START, grads)
    twin = state.copy()
    run(optimizer, START, grads, twin)
    assert (state.step, twin.step) == (3, 6)
    assert not np.array_equal(state.memory, twin.memory)
    state.assign(twin)
    assert state.step == 6
    np.testing.assert_array_equal(state.memory, twin.memory)


@pytest.mark.parametrize("n_rows", [20, 33])
@pytest.mark.parametrize("name", RULES)
def test_steps_in_one_call_or_in_several(name, n_rows):
    """10 steps at once, 3 and 7, and one by one through value_and_grad and update: the same bits everywhere."""
    optimizer, rng = RULES[name], np.random.default_rng(0)
    x, y = rng.standard_normal((n_rows, 3)), rng.standard_normal((n_rows, 2))
    found = []
    for parts in ((10,), (3, 7)):
        params = NET.init(1, dtype=np.float64)
        descent = Descent(NET, params, BatchSource(x, y), state=optimizer.init(params), n_threads=1)
        for count in parts:
            descent.run(descent.state.step, count)
        found.append((params.vector, descent.state.memory, descent.state.step))
    params = NET.init(1, dtype=np.float64)
    state = optimizer.init(params)
    for _ in range(10):
        _, grad = NET.value_and_grad(params, x, y, n_threads=1)
        optimizer.update(params.vector, grad.vector, state)
    for vector, memory, step in found:
        np.testing.assert_array_equal(vector, params.vector)
        np.testing.assert_array_equal(memory, state.memory)
        assert step == 10


@pytest.mark.parametrize("maker", makers.MAKERS.values(), ids=makers.MAKERS)
def test_a_signature_shows_every_option(maker):
    """Each by keyword, with its default; what the optimizer holds is what the signature names."""
    options = list(inspect.signature(maker).parameters.values())
    assert {option.kind for option in options[1:]} == {inspect.Parameter.KEYWORD_ONLY}
    made = maker()
    held = {"learning_rate", *dict(made.options), *COMMON_OPTIONS}
    assert {option.name for option in options} == held
    assert {name for name in held if getattr(made, name, None) is None} >= {"clip_norm", "ema_decay"}


# -- refusals ----------------------------------------------------------------------------------------------------------


def updated(vector=None, grad=None, optimizer=None, state=None):
    """update with something wrong."""
    right, vector = optim.adam(), START.copy() if vector is None else vector
    optimizer, state = optimizer or right, state or right.init(START)
    optimizer.update(vector, START.copy() if grad is None else grad, state)


ADAM = "adam(learning_rate=0.001, beta1=0.9, beta2=0.999, eps=1e-08)"
LIKE = "must be a contiguous writable array like the one the state was made for, float64, shape (21,)"
FLAT = "init needs fastbp.Parameters or a flat float32 or float64 vector; got"
MAKER_NAMES = "'sgd', 'adam', 'adamw', 'nadam', 'amsgrad', 'rmsprop', 'adagrad', 'rprop', 'lion'"
REFUSED = {
    "rate 0": (lambda: optim.sgd(0), "learning_rate must be a finite number above 0; got 0"),
    "rate text": (lambda: optim.sgd("0.1"), "learning_rate must be a finite number above 0; got '0.1'"),
    "rate of rprop": (
        lambda: optim.rprop(optim.cosine(1.0, 10)),
        "learning_rate must be a finite number above 0; got cosine(rate=1.0, n_steps=10, final=0.0)",
    ),
    "momentum": (
        lambda: optim.sgd(momentum=1.0),
        "momentum must be a finite number of at least 0 and below 1; got 1.0",
    ),
    "nesterov": (
        lambda: optim.sgd(nesterov=True),
        "nesterov=True needs a momentum above 0, such as 0.9; got 0",
    ),
    "beta1": (lambda: optim.adam(beta1=-0.1), "beta1 must be a finite number of at least 0 and below 1; got -0.1"),
    "beta2": (lambda: optim.lion(beta2=1), "beta2 must be a finite number of at least 0 and below 1; got 1"),
    "eps": (lambda: optim.adagrad(eps=0), "eps must be a finite number above 0; got 0"),
    "nan": (lambda: optim.adam(eps=np.nan), "eps must be a finite number above 0; got nan"),
    "eta_plus": (lambda: optim.rprop(eta_plus=1.0), "eta_plus must be a finite number above 1; got 1.0"),
    "eta_minus": (lambda: optim.rprop(eta_minus=1), "eta_minus must be a finite number above 0 and below 1; got 1"),
    "clip_norm": (lambda: optim.adam(clip_norm=0.0), "clip_norm must be a finite number above 0; got 0.0"),
    "weight_decay": (
        lambda: optim.sgd(weight_decay=-1),
        "weight_decay must be a finite number of at least 0; got -1",
    ),
    "ema_decay": (
        lambda: optim.lion(ema_decay=1),
        "ema_decay must be a finite number of at least 0 and below 1; got 1",
    ),
    "name": (
        lambda: optim.as_optimizer("adamax"),
        f"optimizer must be one of {MAKER_NAMES}, or made by fastbp.optim; got 'adamax'",
    ),
    "matrix": (lambda: optim.adam().init(np.ones((2, 3))), f"{FLAT} float64, (2, 3)"),
    "integers": (lambda: optim.adam().init(np.ones(3, int)), f"{FLAT} int64, (3,)"),
    "other optimizer": (
        lambda: updated(optimizer=optim.adam(0.1)),
        f"the state is that of {ADAM}; got {ADAM.replace('0.001', '0.1')}. Make one with optimizer.init",
    ),
    "list": (lambda: updated(vector=[1.0] * 21), f"vector {LIKE}; got list"),
    "length": (lambda: updated(np.ones(20)), f"vector {LIKE}; got float64, shape (20,)"),
    "dtype": (lambda: updated(grad=np.ones(21, np.float32)), f"grad {LIKE}; got float32, shape (21,)"),
    "strided": (lambda: updated(grad=np.ones(42)[::2]), f"grad {LIKE}; got float64, shape (21,)"),
    "shared": (
        lambda: updated(*[START.copy()] * 2),
        "vector and grad must not share memory; pass the gradient as an array of its own",
    ),
    "other meta": (
        lambda: optim.OptimizerState.from_meta(NET.init(0), optim.adam().init(START).to_meta()),
        f"the state is not that of Parameters({NET}, {NET.n_parameters} float32)",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_honored_is_refused(call, message):
    """With what was wanted and what came."""
    with pytest.raises(InputError) as error:
        call()
    assert str(error.value) == message
