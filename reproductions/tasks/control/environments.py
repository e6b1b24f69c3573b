"""Environments of gymnasium, runs of policies in them, and what a picture of them needs."""

import functools
import importlib.util
from typing import NamedTuple

import numpy as np

from reproductions.data.data_dir import DataError


class Setting(NamedTuple):
    """An environment and what is particular to it.

    Args:
        id: Its name in gymnasium.
        packages: What has to be installed.
        every: Steps between frames of a picture.
        shown: Which of the reported episodes it shows.
    """

    id: str
    packages: tuple[str, ...]
    every: int
    shown: int = 0


SETTINGS = {
    "pendulum": Setting("Pendulum-v1", ("gymnasium",), 8, shown=1),  # which begins below
    "inverted_pendulum": Setting("InvertedPendulum-v5", ("gymnasium", "mujoco"), 4),
    "half_cheetah": Setting("HalfCheetah-v5", ("gymnasium", "mujoco"), 3),
}
# Episodes begin from these numbers: to choose by, to report, and of random actions.
CHOOSING, REPORTING, RANDOM = 10_000, 20_000, 30_000


class Arena:
    """Makes environments of one kind.

    Args:
        make: Function that returns a new environment, with gymnasium's methods.
        every: Integer, steps between frames of a picture.
        shown: Integer, which of the reported episodes it shows.
    """

    def __init__(self, make, every=1, shown=0):
        self.make, self.every, self.shown = make, every, shown
        self._pool = [make()]
        self.observations = int(np.prod(self._pool[0].observation_space.shape))
        space = self._pool[0].action_space
        self.low, self.high = space.low, space.high
        self.actions = len(space.low)

    def pool(self, count):
        """`count` environments that evaluations share."""
        self._pool += [self.make() for _ in range(count - len(self._pool))]
        return self._pool[:count]

    @functools.cache  # noqa: B019 (an arena lives as long as its process)
    def random_return(self, episodes):
        """The mean return of random actions."""
        rng, total, env = np.random.default_rng(0), 0.0, self._pool[0]
        for i in range(episodes):
            env.reset(seed=RANDOM + i)
            over = False
            while not over:
                _, reward, terminated, truncated, _ = env.step(self.draw(rng))
                total, over = total + float(reward), terminated or truncated
        return total / episodes

    def draw(self, rng):
        """A random action."""
        return rng.uniform(self.low, self.high).astype("float32")


def arena(name):
    """The arena of a data set's name; an error says what has to be installed."""
    setting = SETTINGS[name]
    missing = [p for p in setting.packages if importlib.util.find_spec(p) is None]
    if missing:
        raise DataError(
            f"The environment `{name}` needs {' and '.join(missing)}: "
            "pip install 'hyperkeras[control]'"
        )
    import gymnasium

    make = functools.partial(gymnasium.make, setting.id)
    return Arena(make, setting.every, setting.shown)


class Environments:
    """Environments that are stepped together and begin a new episode when one is over."""

    def __init__(self, arena, count, seed):
        self.arena = arena
        self.all = [arena.make() for _ in range(count)]
        self.states = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(self.all)])

    def step(self, actions):
        """One step of each, with actions cut to their bounds.

        Returns:
            What the steps led to `[n, o]`, before any new episode begins; rewards, and whether
            episodes terminated and whether they are over, `[n]` each. `states` has what comes next.
        """
        actions = np.clip(actions, self.arena.low, self.arena.high)
        after = np.empty_like(self.states)
        rewards = np.zeros(len(self.all))
        terminated, over = (np.zeros(len(self.all), bool) for _ in range(2))
        for i, env in enumerate(self.all):
            after[i], rewards[i], terminated[i], truncated, _ = env.step(actions[i])
            over[i] = terminated[i] or truncated
            self.states[i] = env.reset()[0] if over[i] else after[i]
        return after, rewards, terminated, over


def evaluate(arena, policies, moments, first, episodes):
    """The mean return of each policy over the same episodes, by its mean actions.

    Args:
        arena: The environments.
        policies: Sequence of p functions from normalized observations to actions.
        moments: `RunningMoments` of observations.
        first: Integer, the number of the first episode; others have the next ones.
        episodes: Integer, how many episodes.

    Returns:
        Array `[p]`.
    """
    environments, totals = arena.pool(len(policies)), np.zeros(len(policies))
    for episode in range(first, first + episodes):
        states = np.stack([env.reset(seed=episode)[0] for env in environments])
        alive = list(range(len(policies)))
        while alive:
            x = moments.normalize(states)
            left = []
            for i in alive:
                action = np.clip(policies[i](x[i : i + 1])[0], arena.low, arena.high)
                states[i], reward, terminated, truncated, _ = environments[i].step(action)
                totals[i] += float(reward)
                if not (terminated or truncated):
                    left.append(i)
            alive = left
    return totals / episodes


def frames(arena, policy, moments, count):
    """`count` frames of a reported episode: lists of lines [x, z, x', z', width]."""
    env = arena.pool(1)[0]
    state, over, found = env.reset(seed=REPORTING + arena.shown)[0], False, []
    for step in range(count * arena.every):
        if step % arena.every == 0:
            found.append(lines(env))
        if not over:
            action = policy(moments.normalize(state[None]))[0]
            action = np.clip(action, arena.low, arena.high)
            state, _, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
    return found


def lines(env):
    """An environment as lines: the rod of a pendulum, or the capsules of a MuJoCo model."""
    inner = env.unwrapped
    if not hasattr(inner, "model"):
        angle = float(inner.state[0])
        return [_line(0, 0, np.sin(angle), np.cos(angle), 0.08)]
    model, data, found = inner.model, inner.data, []
    for i in range(model.ngeom):
        if model.geom_type[i] == 3:  # a capsule, along its own z axis
            radius, half = model.geom_size[i, :2]
            along = half * data.geom_xmat[i].reshape(3, 3)[:, 2]
            (x, _, z), (u, _, w) = data.geom_xpos[i] - along, data.geom_xpos[i] + along
            found.append(_line(x, z, u, w, radius))
    return found


def _line(*numbers):
    return [round(float(number), 3) for number in numbers]
