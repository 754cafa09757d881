"""Records what PyTorch's and optax's optimizers and schedules do, for test_optim.py and test_schedules.py.

    python tests/optim/record_optimizers.py    where PyTorch or optax is installed; the other's values stay as they are

The tests need neither: they read recorded_optimizers.json, which says what each value comes from.
"""

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("recorded_optimizers.json")
START = np.cos(1.0 + np.arange(21))
RECORDED_STEPS = (1, 15)  # parameters after so many steps are kept
N_RATES = 40
# What reduce_on_plateau watches, one value after each epoch: falling, flat, rising, and just too little.
WATCHED = [*(1.0 / (1 + np.arange(8))), *([0.125] * 9), *np.linspace(0.13, 0.3, 7), 0.1, 0.09999999, 0.09998, 0.05]
WATCHED = [float(value) for value in [*WATCHED, *([0.05] * 12)]]


def gradient(step):
    """The gradient of a step, counted from 0: of all sizes and both signs, and nowhere near 0."""
    k = np.arange(21)
    return np.sin(1 + 0.7 * k + (0.3 + 0.05 * k) * step) * 10.0 ** (k % 5 - 2)


# -- name: (fastbp.optim -> ours, (torch.optim, [p]) or optax -> theirs) ---------------------------------------------
TORCH = {
    "sgd": (lambda o: o.sgd(0.1), lambda t, p: t.SGD(p, lr=0.1)),
    "momentum": (lambda o: o.sgd(0.1, momentum=0.9), lambda t, p: t.SGD(p, lr=0.1, momentum=0.9)),
    "nesterov": (
        lambda o: o.sgd(0.1, momentum=0.8, nesterov=True),
        lambda t, p: t.SGD(p, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "adam": (lambda o: o.adam(), lambda t, p: t.Adam(p)),
    "adam, all options": (
        lambda o: o.adam(0.03, beta1=0.7, beta2=0.95, eps=1e-2),
        lambda t, p: t.Adam(p, lr=0.03, betas=(0.7, 0.95), eps=1e-2),
    ),
    "adamw": (lambda o: o.adamw(0.02, weight_decay=0.3), lambda t, p: t.AdamW(p, lr=0.02, weight_decay=0.3)),
    "amsgrad": (
        lambda o: o.amsgrad(0.02, beta2=0.8),
        lambda t, p: t.Adam(p, lr=0.02, betas=(0.9, 0.8), amsgrad=True),
    ),
    "rmsprop": (lambda o: o.rmsprop(), lambda t, p: t.RMSprop(p)),
    "rmsprop, momentum": (
        lambda o: o.rmsprop(0.02, rho=0.9, eps=1e-3, momentum=0.6),
        lambda t, p: t.RMSprop(p, lr=0.02, alpha=0.9, eps=1e-3, momentum=0.6),
    ),
    "adagrad": (lambda o: o.adagrad(0.05), lambda t, p: t.Adagrad(p, lr=0.05)),
    "rprop": (lambda o: o.rprop(), lambda t, p: t.Rprop(p)),
    "rprop, bounds": (
        lambda o: o.rprop(0.02, eta_plus=1.5, eta_minus=0.3, step_min=0.01, step_max=0.05),
        lambda t, p: t.Rprop(p, lr=0.02, etas=(0.3, 1.5), step_sizes=(0.01, 0.05)),
    ),
}
OPTAX = {
    "nadam": (lambda o: o.nadam(0.02, beta1=0.8), lambda x: x.nadam(0.02, b1=0.8)),
    "lion": (lambda o: o.lion(0.01, weight_decay=0.2), lambda x: x.lion(0.01, weight_decay=0.2)),
    "adam, optax": (lambda o: o.adam(0.02, beta2=0.99), lambda x: x.adam(0.02, b2=0.99)),
}
SCHEDULES = {
    "step_decay": (lambda o: o.step_decay(0.3, 7, 0.4), lambda s, p: s.StepLR(p, 7, 0.4)),
    "exponential": (lambda o: o.exponential(0.3, 0.9), lambda s, p: s.ExponentialLR(p, 0.9)),
    "cosine": (
        lambda o: o.cosine(0.3, N_RATES - 1, 0.01),
        lambda s, p: s.CosineAnnealingLR(p, N_RATES - 1, 0.01),
    ),
    "one_cycle": (
        lambda o: o.one_cycle(0.3, N_RATES),
        lambda s, p: s.OneCycleLR(p, 0.3, N_RATES, cycle_momentum=False),
    ),
    "one_cycle, all options": (
        lambda o: o.one_cycle(0.3, N_RATES, warmup=0.11, start_factor=3.0, final_factor=50.0),
        lambda s, p: s.OneCycleLR(
            p, 0.3, N_RATES, pct_start=0.11, div_factor=3.0, final_div_factor=50.0, cycle_momentum=False
        ),
    ),
}
PLATEAUS = {
    "plateau": (lambda o: o.reduce_on_plateau(0.3), lambda s, p: s.ReduceLROnPlateau(p)),
    "plateau, all options": (
        lambda o: o.reduce_on_plateau(0.3, 0.5, 3, min_delta=1e-3, smallest=0.02),
        lambda s, p: s.ReduceLROnPlateau(p, factor=0.5, patience=3, threshold=1e-3, min_lr=0.02),
    ),
}


def with_torch(torch):
    """Trajectories, and the rate before each step or after each epoch."""
    schedules = torch.optim.lr_scheduler
    trajectories, rates = {}, {}
    for name, (_, make) in TORCH.items():
        p = torch.tensor(START.copy(), requires_grad=True)
        optimizer, kept = make(torch.optim, [p]), []
        for step in range(max(RECORDED_STEPS)):
            p.grad = torch.tensor(gradient(step))
            optimizer.step()
            kept += [p.detach().numpy().tolist()] if step + 1 in RECORDED_STEPS else []
        trajectories[name] = kept
    for name, (_, make) in {**SCHEDULES, **PLATEAUS}.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        schedule, rates[name] = make(schedules, optimizer), []
        for value in WATCHED if name in PLATEAUS else range(N_RATES):
            if name in PLATEAUS:
                schedule.step(value)
                rates[name].append(optimizer.param_groups[0]["lr"])
            else:
                rates[name].append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                if value < N_RATES - 1:
                    schedule.step()
    return {"version": torch.__version__, "trajectories": trajectories, "rates": rates}


def with_optax(jax, optax):
    """Trajectories."""
    jax.config.update("jax_enable_x64", True)
    trajectories = {}
    for name, (_, make) in OPTAX.items():
        optimizer, p, kept = make(optax), jax.numpy.array(START), []
        state = optimizer.init(p)
        for step in range(max(RECORDED_STEPS)):
            updates, state = optimizer.update(jax.numpy.array(gradient(step)), state, p)
            p = optax.apply_updates(p, updates)
            kept += [np.asarray(p).tolist()] if step + 1 in RECORDED_STEPS else []
        trajectories[name] = kept
    return {"version": optax.__version__, "trajectories": trajectories}


def main():
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    try:
        import torch

        recorded["PyTorch"] = with_torch(torch)
    except ImportError:
        print("PyTorch is not installed")
    try:
        import jax
        import optax

        recorded["optax"] = with_optax(jax, optax)
    except ImportError:
        print("optax is not installed")
    text = json.dumps(recorded, indent=1)
    FILE.write_text(text.replace(",\n     ", ", ").replace(",\n    ", ", ") + "\n")


if __name__ == "__main__":
    main()
