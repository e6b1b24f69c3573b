"""The loop: draw policies, let them act, and learn from what they did."""

import math

import numpy as np

from reproductions.tasks.control import family as families
from reproductions.tasks.control import ppo
from reproductions.tasks.control.environments import Environments


class Trainer:
    """Trains a learner.

    Args:
        learner: `Learner`, not compiled.
        family: `Family` of its policies.
        arena: `Arena`.
        config: The preset's settings; `rate`, the learning rate, falls to 0 along a line.
        steps: Integer, steps of environments in all; whole iterations are run.
        seed: Integer.
    """

    def __init__(self, learner, family, arena, config, steps, seed):
        import keras

        self.learner, self.family, self.arena, self.config = learner, family, arena, config
        self.rng = np.random.default_rng([seed, 1])
        self.policies = min(config["policies"], len(family.architectures))
        count = self.policies * config["environments"]
        self.environments = Environments(arena, count, 100 * seed)
        self.moments = ppo.RunningMoments(arena.observations)
        self.reward_moments = ppo.RunningMoments(1)
        self.running = np.zeros(count)
        self.iterations = math.ceil(steps / (count * config["length"]))
        updates = self.iterations * config["epochs_of_ppo"] * config["minibatches"]
        decay = keras.optimizers.schedules.PolynomialDecay(config["rate"], updates, 0.0)
        optimizer = keras.optimizers.Adam(decay, epsilon=1e-5, global_clipnorm=1.0)
        learner.compile(optimizer, jit_compile=config["jit"])
        optimizer.build(learner.trainable_variables)

    @property
    def steps_an_iteration(self):
        """Steps of environments in an iteration."""
        return len(self.environments.all) * self.config["length"]

    def run(self, watch=None, marks=()):
        """Trains; `watch` is called with the number of steps after each iteration of `marks`."""
        for iteration in range(self.iterations):
            self.iterate()
            if watch is not None and iteration + 1 in marks:
                watch((iteration + 1) * self.steps_an_iteration)

    def weights(self, numbers):
        """The weights of the policies `numbers`, and the deviation of actions."""
        made, size = [], self.policies  # as in training, so that nothing is compiled anew
        for start in range(0, len(numbers), size):
            part = list(numbers[start : start + size])
            rows = self.learner.rows(part + part[:1] * (size - len(part)))
            found = self.learner.predict_on_batch(rows)
            made += [
                self.family.cut(number, kernels, biases)
                for number, kernels, biases in zip(part, found["kernels"], found["biases"])  # noqa: B905
            ]
        return made, np.exp(np.array(found["log_std"]))

    def functions(self, numbers):
        """The policies `numbers` as functions of normalized observations."""
        return [
            lambda x, weights=weights: families.mean_actions(weights, x)
            for weights in self.weights(numbers)[0]
        ]

    def iterate(self):
        """Draws policies, collects their steps and learns from them."""
        chosen = families.draw(self.family.architectures, self.policies, self.rng)
        rows = self.learner.rows(chosen)
        batch = self._prepared(self._collect(chosen), rows["code"])
        count = len(batch["states"])
        size = count // self.config["minibatches"]
        for _ in range(self.config["epochs_of_ppo"]):
            order = self.rng.permutation(count)
            for start in range(0, size * self.config["minibatches"], size):
                at = order[start : start + size]
                part = {key: array[at] for key, array in batch.items()}
                self.learner.train_on_batch(rows, part)

    def _collect(self, chosen):
        """What happens in each environment: arrays `[t, n, ...]`."""
        weights, std = self.weights(chosen)
        each, environments = self.config["environments"], self.environments
        kept = {key: [] for key in ("states", "actions", "log_density", "after")}
        kept |= {key: [] for key in ("rewards", "terminated", "over")}
        for _ in range(self.config["length"]):
            states = self.moments.normalize(environments.states)
            means = np.concatenate(
                [
                    families.mean_actions(w, states[i * each : (i + 1) * each])
                    for i, w in enumerate(weights)
                ]
            )
            noise = self.rng.normal(size=means.shape)
            actions = means + std * noise
            raw = environments.states.copy()
            after, rewards, terminated, over = environments.step(actions)
            density = np.sum(-0.5 * noise**2 - np.log(std) - 0.5 * math.log(2 * math.pi), -1)
            step = dict(states=raw, actions=actions, log_density=density, after=after)
            step |= dict(rewards=rewards, terminated=terminated, over=over)
            for key, value in step.items():
                kept[key].append(value)
        return {key: np.stack(values) for key, values in kept.items()}

    def _prepared(self, steps, code):
        """Rows to learn from `[t e, m, ...]`, e environments for each of m policies."""
        config = self.config
        states, after = (self.moments.normalize(steps[key]) for key in ("states", "after"))
        gamma, rewards = config["gamma"], steps["rewards"]
        returns, self.running = ppo.running_returns(rewards, steps["over"], self.running, gamma)
        self.reward_moments.update(returns[..., None])
        rewards = rewards / math.sqrt(self.reward_moments.variance[0] + 1e-8)
        code = np.repeat(code, config["environments"], axis=0)  # [n, l - 1]
        both = self.learner.values(np.concatenate([states, after]), code)
        values, next_values = both[: len(states)], both[len(states) :]
        ended = steps["terminated"], steps["over"]
        found = ppo.advantages(rewards, values, next_values, *ended, gamma, config["decay"])
        batch = dict(states=states, actions=steps["actions"], log_density=steps["log_density"])
        batch |= dict(advantages=found, returns=found + values)
        batch = {key: self._by_policy(array) for key, array in batch.items()}
        axes = 0 if config["advantages"] == "policy" else (0, 1)
        batch["advantages"] = ppo.standardized(batch["advantages"], axes)
        self.moments.update(
            steps["states"]
        )  # for the next iteration, so that this one is of a piece
        return batch

    def _by_policy(self, array):
        t, n = array.shape[:2]
        each = self.config["environments"]
        array = np.reshape(array, (t, n // each, each, *array.shape[2:]))
        array = np.moveaxis(array, 2, 1).reshape(t * each, n // each, *array.shape[3:])
        return array.astype("float32")
