"""Policies of all sizes from one hypernetwork: which is the smallest that still does the task?

HyperPPO (Hegde et al. 2023) trains, by PPO, a graph hypernetwork that writes the weights of small
MLPs: those of one to three hidden layers, each of one of five widths. In each iteration eight of
them act and learn. Afterwards all are there, and one may pick the smallest that is good enough.
`hyperppo` is that. `no_graph` makes each weight from its own sizes alone, and `batch_advantages`
standardizes advantages over all policies together, as the authors' code does, where `hyperppo`
standardizes them for each policy. `ppo` learns one network by itself, `net`, with as many steps of
the environment as the hypernetwork had for all (`budget` total), or with the share of one of its
policies (own).

All figures are mean returns over episodes by mean actions, in environments apart from training.
`return` is the mean over all policies of a model, which for `ppo` is one. `return_4`,
`return_16x16` and `return_64x64` are those of the networks with these hidden layers.

A policy is good enough if its return is nine tenths of the way from random actions to the best
policy. The best and the smallest that is good enough are chosen on some episodes and reported on
others: `return_best`, `return_smallest` and `return_bar`, what nine tenths are there. `share` is
how far the smallest one gets on the way from random actions to the best one.
`parameters_smallest` and `parameters_best` are their numbers of weights.
"""

import math

import numpy as np

from reproductions.engine.display import Claim, Display
from reproductions.engine.task import Task
from reproductions.tasks.control import choice, environments, plots
from reproductions.tasks.control import family as families

HYPERNETWORKS = ("hyperppo", "no_graph", "batch_advantages")
MODELS = (*HYPERNETWORKS, "ppo")
NETS = ((4,), (16, 16), (64, 64))
OF_NETS = {f"return_{families.name(net)}": families.name(net) for net in NETS}
OF_CHOICE = (
    *("return_best", "return_smallest", "return_bar"),
    *("share", "parameters_smallest", "parameters_best"),
)
METRICS = {"return": "max", **dict.fromkeys((*OF_NETS, *OF_CHOICE), "max")}
METRICS |= {"parameters_smallest": "min", "parameters_best": "min"}
DATA = {
    "pendulum": "swing a pendulum up; gymnasium's Pendulum-v1",
    "inverted_pendulum": "balance a pole on a cart; gymnasium's InvertedPendulum-v5, by MuJoCo",
    "half_cheetah": "run on two legs in a plane; gymnasium's HalfCheetah-v5, by MuJoCo",
}
# `policies` at a time, each in `environments` environments for `length` steps an iteration.
BASE = dict(seeds=3, policies=8, environments=8, length=128, epochs_of_ppo=4, minibatches=8)
BASE |= dict(widths=[4, 8, 16, 32, 64], depths=[1, 2, 3], critic=[64, 64], share=0.9)
BASE |= dict(clip=0.2, value_coefficient=0.5, decay=0.95, jit=True)
BASE |= dict(rate=3e-3, advantages="policy", marks=10)
PRESETS = {
    "smoke": BASE
    | dict(data="pendulum", seeds=1, models=("hyperppo", "ppo"), widths=[4, 8], depths=[1, 2])
    | dict(policies=2, environments=2, length=16, minibatches=2, jit=False, marks=2)
    | dict(choosing=1, reporting=1, frames=3),
    "quick": BASE | dict(data="pendulum", choosing=10, reporting=10, frames=12),
    "full": BASE | dict(data="half_cheetah", choosing=5, reporting=5, frames=12),
}
# What environments ask for: steps in all, and the discount.
STEPS = {"pendulum": 1_000_000, "inverted_pendulum": 600_000, "half_cheetah": 3_000_000}
GAMMA = {"pendulum": 0.9, "inverted_pendulum": 0.99, "half_cheetah": 0.99}
SMOKE_STEPS = 128


def _claims(preset, data):
    named = f"(`{preset}`, `{data}`)"
    asked = [
        (
            *("hyperppo", "return_smallest", "hyperppo", "return_bar", {}, True),
            "The smallest policy that was good enough on the episodes it was chosen by is so on "
            "others: nine tenths of the best one (Hegde et al. 2023)",
        ),
        (
            *("hyperppo", "parameters_smallest", "hyperppo", "parameters_best", {}, False),
            "It has fewer weights than the best one (Hegde et al. 2023)",
        ),
    ]
    for metric, net in OF_NETS.items():
        if preset == "full" and net != "64x64":
            continue
        alone = dict(net=net, budget="total")
        asked += [
            (
                *("ppo", "return", "hyperppo", metric, alone, False),
                f"PPO alone on the network {net}, with as many steps as the hypernetwork had for "
                "all, makes it better than the hypernetwork does",
            ),
            (
                *("hyperppo", metric, "ppo", "return", alone | dict(budget="own"), False),
                f"The hypernetwork makes the network {net} better than PPO alone on it does with "
                "its share of the steps (Hegde et al. 2023)",
            ),
        ]
    ablations = [
        (
            *("hyperppo", "return", "no_graph", "return", {}, False),
            "The graph matters: weights made from their own sizes alone are worse",
        ),
        (
            *("hyperppo", "return", "batch_advantages", "return", {}, False),
            "Advantages standardized for each policy are better than over all of them, as in the "
            "authors' code",
        ),
    ]
    return [
        Claim(
            **dict(preset=preset, data=data, ours=ours, metric=metric, baseline=baseline),
            **dict(baseline_metric=other, level=level, what=f"{what} {named}."),
            labels=labels if ours == "ppo" else {},
            baseline_labels={} if ours == "ppo" else labels,
        )
        for ours, metric, baseline, other, labels, level, what in (
            *asked,
            *(ablations if preset == "quick" else ()),
        )
    ]


def configurations(model, preset, data):
    config = PRESETS[preset] | dict(gamma=GAMMA[data], steps=STEPS[data])
    if preset == "smoke":
        config |= dict(steps=SMOKE_STEPS)
    if model == "batch_advantages":
        config |= dict(advantages="batch")
    if model != "ppo":
        return [config]
    nets = NETS[:1] if preset == "smoke" else NETS
    return [
        config | dict(net=families.name(net), budget=budget)
        for net in nets
        for budget in ("total", "own")
    ]


def data(name, config, data_dir):
    return environments.arena(name)


def measure(model, config, seed, data):
    import keras

    from reproductions.tasks.control import networks
    from reproductions.tasks.control.training import Trainer

    keras.utils.set_random_seed(seed)
    every = families.architectures(config["widths"], config["depths"])
    steps, made = config["steps"], 0
    if model == "ppo":
        net = next(net for net in NETS if families.name(net) == config["net"])
        family = families.Family([net], data.observations, data.actions)
        actor = networks.OwnPolicy(family)
        steps = steps if config["budget"] == "total" else math.ceil(steps / len(every))
    else:
        family = families.Family(every, data.observations, data.actions)
        hypernetwork = networks.hypernetwork(family, graph=model != "no_graph")
        actor = networks.GeneratedPolicies(hypernetwork, family)
        made = max(family.parameters)
    learner = networks.Learner(actor, family, config)
    trainer = Trainer(learner, family, data, config, steps, seed)
    curve = _trained(trainer, config, data)
    policies = trainer.functions(range(len(family.architectures)))
    returns = {
        name: environments.evaluate(data, policies, trainer.moments, first, config[name])
        for name, first in (
            ("choosing", environments.CHOOSING),
            ("reporting", environments.REPORTING),
        )
    }
    floor = data.random_return(20)
    result, smallest = _figures(model, config, family, returns, floor)
    shown = environments.frames(data, policies[smallest], trainer.moments, config["frames"])
    valid = {name: [round(float(value), 2) for value in values] for name, values in returns.items()}
    valid |= dict(names=[families.name(net) for net in family.architectures], floor=floor)
    valid |= dict(parameters=family.parameters, smallest=smallest, curve=curve, frames=shown)
    valid |= dict(deviation=[float(x) for x in np.exp(np.array(learner.log_std.value))])
    parameters = {"trainable": learner.count_params(), "generated": made}
    return {"metrics": {"valid": valid, "test": result}, "parameters": parameters}


def _trained(trainer, config, data):
    """Trains; returns of some policies as it goes, on the choosing episodes."""
    family = trainer.family
    numbers = [i for i, net in enumerate(family.architectures) if net in NETS]
    names = [families.name(family.architectures[i]) for i in numbers]
    curve = {"steps": [], **{name: [] for name in names}}

    def watch(steps):
        found = environments.evaluate(
            data, trainer.functions(numbers), trainer.moments, environments.CHOOSING, 5
        )
        curve["steps"].append(steps)
        for name, value in zip(names, found, strict=True):
            curve[name].append(round(float(value), 2))

    count = min(config["marks"], trainer.iterations)
    trainer.run(watch, {round(trainer.iterations * (k + 1) / count) for k in range(count)})
    return curve


def _figures(model, config, family, returns, floor):
    """The test metrics, and the number of the smallest policy that is good enough."""
    choosing, reporting = returns["choosing"], returns["reporting"]
    smallest = choice.smallest(choosing, family.parameters, floor, config["share"])
    best = int(np.argmax(choosing))
    result = dict.fromkeys(METRICS) | {"return": reporting.mean()}
    for metric, net in OF_NETS.items():
        names = [families.name(a) for a in family.architectures]
        result[metric] = reporting[names.index(net)] if net in names else None
    if model != "ppo":
        far = reporting[best] - floor
        result |= dict(return_best=reporting[best], return_smallest=reporting[smallest])
        result |= dict(return_bar=choice.bar([reporting[best]], floor, config["share"]))
        result |= dict(share=(reporting[smallest] - floor) / far if far else None)
        result |= dict(parameters_smallest=family.parameters[smallest])
        result |= dict(parameters_best=family.parameters[best])
    kept = {key: None if value is None else float(value) for key, value in result.items()}
    return kept, smallest


TASK = Task(
    name="control",
    about=__doc__,
    models=MODELS,
    metrics=METRICS,
    data_sets=DATA,
    presets=PRESETS,
    labels=("net", "budget"),
    deviations=(
        "No figure of the paper is beside ours: its curves and tables could not be read, and the "
        "authors' repository holds none.",
        "Policies have up to three hidden layers of at most 64 units (the paper: four, 256), so "
        "that runs take minutes; the environments are small ones, and HalfCheetah has millions of "
        "steps instead of a hundred millions.",
        "Nodes are read by their kinds and by their sizes in half octaves (the authors' code: by "
        "the width as a raw number), and the critic reads logarithms of widths.",
        "The last kernel reads hidden units scaled by 0.1. Without it first actions are so large "
        "that they are cut at their bounds, and nothing is learned.",
        "Advantages are standardized for each policy (`batch_advantages`: over all, as the "
        "authors' code does), the critic's loss is not clipped, and there is no penalty on the "
        "divergence from the old policy.",
        "The authors choose and report by the same episodes, by drawn actions, and scale returns "
        "by the worst and the best policy; here these are other episodes, actions are the means, "
        "and random actions take the place of the worst policy.",
    ),
    display=Display(
        claims=tuple(
            claim
            for preset, name in (
                *(("quick", "pendulum"), ("full", "inverted_pendulum")),
                ("full", "half_cheetah"),
            )
            for claim in _claims(preset, name)
        ),
        families={"hypernetwork": HYPERNETWORKS},
        compared=(HYPERNETWORKS, ("ppo",)),
        only=dict.fromkeys(OF_CHOICE, HYPERNETWORKS),
    ),
    configurations=configurations,
    data=data,
    plot=plots.plot,
    measure=measure,
)
