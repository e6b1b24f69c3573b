"""PPO's equations, policies as padded arrays, the choice among them, and whole runs."""

import json
import types

import keras
import numpy as np
import pytest

from reproductions import __main__ as command_line
from reproductions.data.data_dir import DataError
from reproductions.tasks import control
from reproductions.tasks.control import choice, environments, networks, plots, ppo
from reproductions.tasks.control import family as families
from reproductions.tasks.control.training import Trainer

rng = np.random.default_rng(0)
CONFIG = control.configurations("hyperppo", "smoke", "pendulum")[0]


class Target:
    """Episodes of `length` steps whose reward is high where the action is what is seen."""

    def __init__(self, length=5):
        self.observation_space = types.SimpleNamespace(shape=(2,))
        bound = np.ones(1, "float32")
        self.action_space = types.SimpleNamespace(low=-bound, high=bound)
        self.length, self.rng = length, np.random.default_rng(0)
        self.unwrapped, self.state = self, np.zeros(2)

    def reset(self, seed=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.steps = 0
        return self._see(), {}

    def _see(self):
        self.state = np.array([self.rng.uniform(-0.8, 0.8), self.steps])
        return self.state

    def step(self, action):
        assert np.all(np.abs(action) <= 1)
        reward = 1 - (float(action[0]) - self.state[0]) ** 2
        self.steps += 1
        return self._see(), reward, False, self.steps == self.length, {}


@pytest.fixture(scope="module")
def arena():
    return environments.Arena(Target)


@pytest.fixture(scope="module")
def family():
    return families.Family(families.architectures((2, 3), (1, 2)), 2, 1)


def test_advantages_are_sums_of_errors_to_the_end_of_the_episode():
    t, n, gamma, decay = 7, 3, 0.9, 0.8
    rewards, values, after = rng.normal(size=(3, t, n))
    over = rng.random((t, n)) < 0.3
    terminated = over & (rng.random((t, n)) < 0.5)
    assert terminated.any() and (over & ~terminated).any()
    found = ppo.advantages(rewards, values, after, terminated, over, gamma, decay)
    for i in range(n):
        for start in range(t):
            total, weight = 0.0, 1.0
            for s in range(start, t):
                value = 0.0 if terminated[s, i] else after[s, i]
                total += weight * (rewards[s, i] + gamma * value - values[s, i])
                weight *= gamma * decay
                if over[s, i]:
                    break
            assert found[start, i] == pytest.approx(total)


def test_the_loss_is_the_papers():
    new, old, advantages = rng.normal(size=(3, 40)).astype("float32")
    ratio = np.exp(new - old)
    held = np.clip(ratio, 1 / 1.2, 1.2)
    expected = -np.mean(np.minimum(ratio * advantages, held * advantages))
    assert float(ppo.policy_loss(new, old, advantages, 0.2)) == pytest.approx(expected, rel=1e-4)


def test_densities_are_those_of_normal_actions():
    actions, means = rng.normal(size=(2, 4, 3)).astype("float32")
    log_std = np.array([0.0, 0.5, -1.0], "float32")
    std = np.exp(log_std)
    each = np.exp(-(((actions - means) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))
    found = ppo.log_density(actions, means, log_std)
    np.testing.assert_allclose(found, np.log(each.prod(-1)), rtol=1e-4)


def test_running_moments_are_those_of_all_rows():
    rows, moments = rng.normal(3, 2, size=(90, 4)), ppo.RunningMoments(4)
    for part in np.split(rows, [20, 50]):
        moments.update(part.reshape(5, -1, 4))
    np.testing.assert_allclose(moments.mean, rows.mean(0))
    np.testing.assert_allclose(moments.variance, rows.var(0))
    assert np.abs(moments.normalize(rows).mean(0)).max() < 1e-5


def test_running_returns_begin_anew_with_each_episode():
    over = np.array([[False], [True], [False]])
    found, last = ppo.running_returns(np.ones((3, 1)), over, np.array([2.0]), 0.5)
    assert found[:, 0].tolist() == [2.0, 2.0, 1.0] and last.tolist() == [1.0]


def test_standardized_for_each_policy_or_over_all():
    x = rng.normal(size=(50, 3)) * [1, 2, 3] + [4, 5, 6]
    np.testing.assert_allclose(ppo.standardized(x, 0).mean(0), 0, atol=1e-9)
    assert ppo.standardized(x, (0, 1)).mean(0)[0] < -0.1


def test_the_space_has_155_policies():
    every = families.architectures((4, 8, 16, 32, 64), (1, 2, 3))
    assert len(every) == len(set(every)) == 155
    for net in ((4,), (16, 16), (64, 64)):
        assert net in every
        policy = families.keras_policy(net, 4, 1)
        assert policy.count_params() == families.count_parameters(net, 4, 1)
    assert families.count_parameters((4,), 4, 1) == 25
    assert families.name((16, 8)) == "16x8"


def test_draws_are_different_and_of_all_depths_alike():
    every = families.architectures((4, 8, 16, 32, 64), (1, 2, 3))
    drawn = [families.draw(every, 4, rng) for _ in range(300)]
    assert all(len(set(numbers)) == 4 for numbers in drawn)
    depths = np.bincount([len(every[numbers[0]]) for numbers in drawn], minlength=4)[1:]
    assert depths.min() > 70
    assert sorted(families.draw(every[:3], 8, rng)) == [0, 1, 2]


@pytest.mark.parametrize("graph", [True, False])
def test_padded_weights_are_those_of_the_graph_hypernetwork(family, graph):
    hypernetwork = networks.hypernetwork(family, graph)
    actor = networks.GeneratedPolicies(hypernetwork, family)
    learner = networks.Learner(actor, family, CONFIG)
    numbers = [0, 3, 4]  # of one and of two layers
    rows = learner.rows(numbers)
    kernels, biases = (np.array(x) for x in actor(rows))
    x = rng.normal(size=(5, 2)).astype("float32")
    padded = np.pad(x, ((0, 0), (0, family.size - 2)))
    together = networks.means(kernels, biases, rows["used"], np.stack([padded] * 3))
    for i, number in enumerate(numbers):
        policy = families.keras_policy(family.architectures[number], 2, 1)
        cut = family.cut(number, kernels[i], biases[i])
        for one, other in zip(np.array(cut, object).ravel(), hypernetwork.generate(policy)):  # noqa: B905
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        assert np.count_nonzero(kernels[i]) == sum(kernel.size for kernel, _ in cut)
        expected = np.array(hypernetwork.apply(policy, x))
        np.testing.assert_allclose(families.mean_actions(cut, x), expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together[i][:, :1], expected, rtol=1e-4, atol=1e-6)
        hypernetwork.assign(policy)
        np.testing.assert_allclose(policy(x), expected, rtol=1e-4, atol=1e-6)


def test_a_policy_alone_is_its_keras_model():
    family = families.Family([(3, 4)], 2, 1)
    actor = networks.OwnPolicy(family)
    actor.policy.set_weights([rng.normal(size=w.shape) for w in actor.policy.get_weights()])
    kernels, biases = (np.array(x) for x in actor(family.masks))
    x = rng.normal(size=(5, 2)).astype("float32")
    found = families.mean_actions(family.cut(0, kernels[0], biases[0]), x)
    np.testing.assert_allclose(found, actor.policy(x), rtol=1e-5, atol=1e-6)


def test_the_loss_reaches_all_weights(family):
    learner = networks.Learner(
        networks.GeneratedPolicies(networks.hypernetwork(family), family), family, CONFIG
    )
    rows = learner.rows([0, 3])
    batch = {
        key: rng.normal(size=(6, 2, *size)).astype("float32")
        for key, size in dict(states=(2,), actions=(1,), log_density=()).items()
    }
    batch |= dict(advantages=batch["log_density"], returns=batch["log_density"])
    learner.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = [np.array(w) for w in learner.trainable_variables]
    learner.train_on_batch(rows, batch)
    same = [
        w.path
        for w, old in zip(learner.trainable_variables, before, strict=True)
        if np.array_equal(np.array(w), old)
    ]
    # Sizes that no policy has are not looked up, nor windows of convolutions.
    assert all("size_" in path for path in same), same


def test_the_smallest_that_is_good_enough():
    returns, parameters = [-10.0, 85.0, 91.0, 93.0, 100.0], [1, 2, 9, 9, 30]
    assert choice.bar(returns, 0, 0.9) == 90
    assert choice.smallest(returns, parameters, 0, 0.9) == 3  # as small as the other, and better
    assert choice.smallest(returns, parameters, -10, 0.8) == 1
    assert choice.smallest(returns, parameters, 0, 1.0) == 4


def test_environments_keep_what_a_time_out_led_to(arena):
    together = environments.Environments(arena, 2, seed=0)
    for step in range(1, 7):
        after, rewards, terminated, over = together.step(np.full((2, 1), 3.0))
        assert over.all() == (step == 5) and not terminated.any()
        assert (after[:, 1] == (step - 1) % 5 + 1).all()
        assert (together.states[:, 1] == step % 5).all()
        assert (rewards < 1).all()


def test_evaluation_repeats_the_same_episodes(arena):
    moments = ppo.RunningMoments(2)
    perfect, still = lambda x: x[:, :1], lambda x: 0 * x[:, :1]
    first = environments.evaluate(arena, [perfect, still, still], moments, 7, 3)
    assert first[0] == pytest.approx(5) and first[1] == first[2] < 4.9
    np.testing.assert_array_equal(
        first, environments.evaluate(arena, [perfect, still, still], moments, 7, 3)
    )
    other = environments.evaluate(arena, [still], moments, environments.REPORTING, 3)
    assert other[0] != first[1]


def test_training_and_evaluation_have_episodes_of_their_own():
    """No evaluation begins where training, or the choice, did."""
    episodes = max(preset["choosing"] for preset in control.PRESETS.values())
    assert 0 + 100 * 3 + 64 < environments.CHOOSING
    assert environments.CHOOSING + episodes < environments.REPORTING < environments.RANDOM - 100


def test_one_policy_learns(arena):
    """A target that moves at random is followed after a few iterations."""
    family = families.Family([(8,)], 2, 1)
    config = CONFIG | dict(
        length=64, environments=4, critic=[16], minibatches=4, gamma=0.5, rate=0.01
    )
    learner = networks.Learner(networks.OwnPolicy(family), family, config)
    trainer = Trainer(learner, family, arena, config, 24 * 256, seed=0)
    assert trainer.iterations == 24

    def score():
        return environments.evaluate(arena, trainer.functions([0]), trainer.moments, 0, 20)[0]

    before = score()
    trainer.run()
    assert score() > before + 0.5 * (5 - before)


@pytest.fixture(scope="module")
def records(arena):
    """Runs as records; other hypernetworks differ in what the tests above look at."""
    found = []
    for model in ("hyperppo", "ppo"):
        for config in control.TASK.settings(model, "smoke", "pendulum"):
            measured = control.measure(model, config, 0, arena)
            record = dict(model=model, data="pendulum", seed=0, config=config)
            found.append(json.loads(json.dumps(record | measured, allow_nan=False)))
    return found


def test_every_model_has_figures(records, tmp_path):
    assert len(records) == 1 + 2
    for record in records:
        test, valid = record["metrics"]["test"], record["metrics"]["valid"]
        assert set(test) == set(control.METRICS)
        alone = record["model"] == "ppo"
        assert len(valid["reporting"]) == (1 if alone else 6)
        assert test["return_4"] is not None and test["return_64x64"] is None
        assert (test["return_smallest"] is None) == alone
        assert test["return"] == pytest.approx(np.mean(valid["reporting"]), abs=0.01)
        assert len(valid["frames"]) == 3
        assert (record["parameters"]["generated"] == 0) == alone
        last = valid["curve"]["steps"][-1]
        short = record["config"].get("budget") == "own"
        assert last >= record["config"]["steps"] / (6 if short else 1)
        assert (last < record["config"]["steps"]) == short
    plots.plot(records, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists()


def test_claims_are_of_models_and_metrics_there_are():
    for claim in control.TASK.display.claims:
        assert {claim.ours, claim.baseline} <= set(control.MODELS)
        assert {claim.metric, claim.baseline_metric} <= set(control.METRICS)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="needs gymnasium and mujoco: pip install .*control"):
        environments.arena("half_cheetah")


def test_a_run_with_gymnasium(tmp_path):
    pytest.importorskip("gymnasium", reason="pip install 'hyperkeras[control]'")
    words = ["run", "control", "--preset", "smoke", "--models", "hyperppo"]
    assert command_line.main([*words, "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("control/smoke/*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "finished", record["error"]
    assert len(record["metrics"]["valid"]["frames"][0]) == 1  # the rod
    assert (tmp_path / "control/smoke/curves.png").exists()


def test_lines_of_a_mujoco_model():
    pytest.importorskip("mujoco", reason="pip install 'hyperkeras[control]'")
    pytest.importorskip("gymnasium", reason="pip install 'hyperkeras[control]'")
    arena = environments.arena("inverted_pendulum")
    assert (arena.observations, arena.actions) == (4, 1)
    (env,) = arena.pool(1)
    env.reset(seed=0)
    rail, _, pole = environments.lines(env)
    assert sorted([rail[0], rail[2]]) == [-1, 1] and rail[1] == rail[3] == 0
    low, high = sorted([pole[1], pole[3]])
    assert abs(low) < 0.05 and high > 0.5
