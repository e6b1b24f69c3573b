"""Runs that are killed, that find damaged files or a full disk, or that are not alone."""

import errno
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from toy import read, run_toy, toy_task

from reproductions.data import data_dir, images
from reproductions.engine import atomic_files, checkpoints, records
from reproductions.engine.records import RecordError

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
EPOCHS = 8

RUN_TOY = """
import sys
from pathlib import Path
from toy import run_toy, toy_task
sys.exit(run_toy(toy_task(), Path(sys.argv[1]), epochs=int(sys.argv[2])))
"""
TWICE = """
import sys
from reproductions.__main__ import main
for folder in sys.argv[1:]:
    words = ["run", "identity", "--models", "sparse_adaptive", "--preset", "smoke"]
    assert main([*words, "--deterministic", "--out", folder]) == 0
"""


def start_toy(folder):
    command = [sys.executable, "-c", RUN_TOY, str(folder), str(EPOCHS)]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def names(folder):
    return sorted(path.name for path in (folder / "toy" / "quick").iterdir())


def interrupted(folder, epoch=2):
    """A toy task whose first run was interrupted; its checkpoint."""
    task = toy_task()
    task.source.interrupt_at = epoch
    with pytest.raises(KeyboardInterrupt):
        run_toy(task, folder, seeds=1)
    task.source.interrupt_at = None
    (checkpoint,) = folder.glob("**/*.npz")
    return task, checkpoint


# Killed, and not alone


def test_killed_runs_and_two_at_once_end_as_an_undisturbed_one(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = start_toy(cut)
    wait_for(lambda: list(cut.glob("**/*.npz")), process)
    time.sleep(random.uniform(0, 0.2))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    assert not list(cut.glob("**/*seed1.json")), "it was over before it could be killed"

    other = start_toy(cut)  # goes on, beside this process
    wait_for(lambda: list(cut.glob("**/*.lock")) and other.poll() is None, other)
    assert run_toy(toy_task(), cut, epochs=EPOCHS) == 0
    output, _ = other.communicate(timeout=300)
    assert other.returncode == 0, output
    assert run_toy(toy_task(), whole, epochs=EPOCHS) == 0
    assert names(cut) == names(whole)  # no checkpoint, lock or temporary file
    for path in whole.glob("**/*.json"):
        twin = json.loads((cut / path.relative_to(whole)).read_text())
        assert twin["metrics"] == json.loads(path.read_text())["metrics"]


def test_a_run_that_another_process_holds_comes_last(tmp_path, capsys):
    task, order = toy_task(), []
    task.before_epoch = lambda network, epoch, config: order.append(epoch)
    folder = tmp_path / "toy" / "quick"
    lock = folder / "checkpoints" / "small-units3-sums-seed0.lock"
    held, let_go = threading.Event(), threading.Event()

    def another():
        with atomic_files.lock(lock, wait=False) as mine:
            assert mine
            held.set()
            let_go.wait(60)

    def end():
        while not (folder / "small-units3-sums-seed1.json").exists():
            time.sleep(0.01)
        order.append("let go")
        let_go.set()

    threads = [threading.Thread(target=target) for target in (another, end)]
    threads[0].start()
    held.wait(60)
    threads[1].start()
    assert run_toy(task, tmp_path, epochs=1) == 0
    for thread in threads:
        thread.join()
    assert order == [0, "let go", 0]
    assert "seed0: waiting for the process that runs it" in " ".join(
        capsys.readouterr().out.split()
    )
    assert names(tmp_path) == ["small-units3-sums-seed0.json", "small-units3-sums-seed1.json"]


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    task, checkpoint = interrupted(tmp_path)
    record = checkpoint.parents[1] / f"{checkpoint.stem}.json"
    for path in (checkpoint, record):
        path.with_name(f"{path.name}.0a1b2c3d.tmp").write_bytes(b"half")
    checkpoint.with_suffix(".lock").touch()  # nobody holds it
    assert run_toy(task, tmp_path, seeds=1) == 0
    assert names(tmp_path) == [record.name]


def test_one_lock_has_one_holder(tmp_path):
    path = tmp_path / "folder" / "a.lock"
    with (
        atomic_files.lock(path, wait=False) as first,
        atomic_files.lock(path, wait=False) as second,
    ):
        assert first and not second
    assert not path.parent.exists()
    with atomic_files.lock(path, wait=False) as again:
        assert again


def test_deterministic_runs_are_equal_bit_by_bit(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    command = [sys.executable, "-c", TWICE, *map(str, folders)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*.json"))
    assert names
    for name in names:
        first, second = (read(folder, name) for folder in folders)
        assert first["metrics"] == second["metrics"]
        assert first["command"].endswith("--deterministic")


def test_a_deterministic_run_uses_nothing_of_another(tmp_path, monkeypatch):
    task, _ = interrupted(tmp_path)
    epochs = []
    task.before_epoch = lambda network, epoch, config: epochs.append(epoch)
    run_toy(task, tmp_path, seeds=1, deterministic=True)
    assert epochs == [0, 1, 2, 3]
    run_toy(task, tmp_path, seeds=1, deterministic=True)
    run_toy(task, tmp_path, seeds=1)
    assert len(epochs) == 4  # such a record serves both


# Damage


def test_a_checkpoint_with_one_changed_byte_is_never_used(tmp_path):
    task, checkpoint = interrupted(tmp_path)
    whole = checkpoint.read_bytes()
    one = {"some": "run"}
    network = task.build("small", {"shape": (3,), "units": 3}, None)
    network.optimizer.build(network.trainable_variables)
    checkpoints.save(checkpoint, one, network, {"epoch": 1}, [v.numpy() for v in network.variables])
    whole, before = checkpoint.read_bytes(), [v.numpy() for v in network.variables]
    refused = 0
    for place in np.random.default_rng(0).integers(0, len(whole), 300):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        checkpoint.write_bytes(changed)
        try:
            progress, best = checkpoints.restore(checkpoint, one, network)
        except RecordError as error:
            refused += 1
            assert checkpoint.name in str(error) and "delete it" in str(error)
        else:  # a byte that tells nothing, as a file's date
            assert progress == {"epoch": 1}
            for found, expected in zip(best, before, strict=True):
                np.testing.assert_array_equal(found, expected)
        for variable, expected in zip(network.variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), expected)
    assert refused > 150
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(RecordError, match="delete it"):
            checkpoints.restore(checkpoint, one, network)


def test_a_checkpoint_of_a_larger_network_is_not_used(tmp_path):
    task, path = toy_task(), tmp_path / "a.npz"
    network = task.build("small", {"shape": (3,), "units": 3}, None)
    checkpoints.save(path, {}, network, {}, [v.numpy() for v in network.variables] + [np.ones(3)])
    with pytest.raises(RecordError, match="a.npz cannot be used"):
        checkpoints.restore(path, {}, network)


def write_idx(folder, count=5003):
    for split in ("train", "test"):
        image_file, label_file = images.IDX_FILES[split]
        for name, shape in ((image_file, (count, 28, 28)), (label_file, (count,))):
            head = bytes([0, 0, 8, len(shape), *np.array(shape, ">u4").tobytes()])
            body = np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8).tobytes()
            (folder / name).write_bytes(gzip.compress(head + body, 1))


def test_damaged_mnist_is_never_used(tmp_path):
    write_idx(tmp_path)
    path = tmp_path / images.IDX_FILES["test"][1]
    whole, before = path.read_bytes(), images.mnist(tmp_path)["test"][1]
    for place in range(10, len(whole), len(whole) // 40):
        changed = bytearray(whole)
        changed[place] ^= 255
        path.write_bytes(changed)
        with pytest.raises(data_dir.DataError, match=path.name):
            images.mnist(tmp_path)
    path.write_bytes(whole)
    np.testing.assert_array_equal(images.mnist(tmp_path)["test"][1], before)
    (tmp_path / images.IDX_FILES["test"][0]).write_bytes(whole)  # labels in the images' place
    with pytest.raises(data_dir.DataError, match="image of 28×28 and a label"):
        images.mnist(tmp_path)


def test_cut_cifar10_is_never_used(tmp_path):
    all_names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for name in all_names:
        (tmp_path / name).write_bytes(bytes(3073 * 4))
    images.cifar10(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    for content, message in ((bytes(3073 * 3), "not as long as"), (b"\n" * 3073 * 4, "labels")):
        path.write_bytes(content)
        with pytest.raises(data_dir.DataError, match=f"{path.name}.*{message}"):
            images.cifar10(tmp_path)


# A full disk


class Full(io.FileIO):
    """A file on a disk that has room for 300 bytes more."""

    def write(self, content):
        if self.tell() + len(content) > 300:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


def no_room(path, mode="r", **options):
    return Full(path, "w") if mode == "wb" else open(path, mode, **options)  # noqa: PTH123


def late(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("when", ["writing", "flushing"])
def test_a_full_disk_leaves_no_half_written_file(tmp_path, monkeypatch, when):
    task, checkpoint = interrupted(tmp_path)
    before = checkpoint.read_bytes()
    with monkeypatch.context() as patch:
        if when == "writing":
            patch.setattr(Path, "open", no_room)
        else:
            patch.setattr(atomic_files.os, "fsync", late)
        with pytest.raises(RecordError, match=rf"{checkpoint.name} could not be .*No space left"):
            run_toy(task, tmp_path, seeds=1)
        record = tmp_path / "record.json"
        with pytest.raises(RecordError, match=r"record\.json could not be written"):
            records.write(record, dict.fromkeys(records.KEYS, "long enough"))
    assert checkpoint.read_bytes() == before
    assert not [*tmp_path.glob("**/*.tmp"), *tmp_path.glob("**/*.json")]
    assert run_toy(task, tmp_path, seeds=1) == 0  # and goes on once there is room
