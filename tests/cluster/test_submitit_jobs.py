"""Jobs of a sweep: on this machine for real (hydra/launcher=local); tests/slurm has those on a Slurm."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers.training_runs import TORCHRUN, TRAIN, assert_same_training, environment, last_epoch, only_run, start, train

from mammorisk.cluster.submitit_jobs import asks_for_jobs, batch_script_setup, check_can_launch, plain_words
from mammorisk.errors import UserError

LOCAL = ["hydra/launcher=local", "hydra.launcher.tasks_per_node=2"]
TWO = ["model=lmv_net", "dataset.batch_size=4", "trainer.num_processes=2", "trainer.num_epochs=1"]
# As if the extra were not installed.
WITHOUT = """
import sys
sys.modules["hydra_plugins.hydra_submitit_launcher"] = None
sys.argv[1:] = {words}
from mammorisk.cli.train import main
main()
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("model=mirai", False),
        ("model=mirai -m", True),
        ("--multirun seed=1,2", True),
        ("hydra/launcher=slurm", True),
        ("hydra/launcher=local seed=1", True),
        ("hydra/launcher=basic", False),
    ],
)
def test_a_launcher_makes_a_sweep(line, expected):
    assert asks_for_jobs(line.split()) is expected


def test_a_sweep_by_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_can_launch(["-m"])
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match=r"runs as 4 processes .*\n.*hydra.launcher.tasks_per_node=4"):
        check_can_launch(["-m"])


@pytest.mark.parametrize("words", [["-m", "seed=1,2"], ["hydra/launcher=local"]], ids=str)
def test_a_sweep_under_torchrun_is_told_once(tmp_path, words):
    printed = train(tmp_path, "model=mirai", *words, launcher=TORCHRUN, status=1)
    assert printed.count("A sweep starts its jobs itself, but this command runs as 2 processes") == 1
    assert "hydra.launcher.tasks_per_node=2" in printed
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("name", ["slurm", "local", "submitit_slurm"])
def test_without_the_extra_the_message_names_it(tmp_path, name):
    code = WITHOUT.format(words=["model=mirai", "seed=1,2", f"hydra/launcher={name}"])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert f"hydra/launcher={name} needs the package hydra-submitit-launcher" in done.stderr
    assert "pip install 'mammorisk[sweep]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_slurm_the_message_says_where_to_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch here"), plain_words("slurm"):
        pytest.fail("nothing is submitted")


def test_the_batch_script_requeues_with_this_python():
    script = "\n".join(batch_script_setup(7))
    assert subprocess.run(["bash", "-n", "-c", script], check=True).returncode == 0
    assert f"{sys.executable} -m mammorisk.cluster.requeue $? 7" in script
    assert "mammorisk.cluster.requeue" not in "".join(batch_script_setup(None))


@pytest.mark.slow
def test_a_job_of_two_processes_is_the_training_of_torchrun(tmp_path):
    """A single training, in one directory, with one log and the files of Hydra written once."""
    train(tmp_path / "job", *TWO, *LOCAL)
    train(tmp_path / "torchrun", *TWO, launcher=TORCHRUN)
    (run,) = only_run(tmp_path / "job").glob("Model_*_job_0")
    assert_same_training(last_epoch(run), last_epoch(only_run(tmp_path / "torchrun")))
    assert last_epoch(run)["world_size"] == 2
    assert len(list(run.glob("*.log"))) == 1
    assert (run / ".hydra" / "config.yaml").exists()


def test_a_mistake_in_a_job_is_a_message_and_the_others_go_on(tmp_path):
    printed = train(tmp_path, "model=mirai", "trainer.num_epochs=0,1", "hydra/launcher=local", status=1)
    assert "trainer.num_epochs=0: expected a whole number from 1" in printed
    assert "mammorisk stopped:" in printed
    assert "Traceback" not in printed
    (done,) = only_run(tmp_path).glob("Model_*_job_1")
    assert len(list(done.glob("*_last_epoch.pth"))) == 1


def tasks_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a command's one job, by rank."""
    below = psutil.Process(process.pid).children(recursive=True)
    tasks = [each for each in below if "submitit.core._submit" in each.cmdline()]
    return sorted(tasks, key=lambda each: each.environ()["SUBMITIT_LOCAL_GLOBALID"])


def test_a_process_that_dies_ends_the_job_and_is_named(tmp_path):
    process = start(tmp_path, *TWO, *LOCAL, "trainer.num_epochs=500", "trainer.save_every_minutes=0")
    ends = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/*/*/resume.pth")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < ends
        time.sleep(0.1)
    tasks = tasks_of(process)
    assert len(tasks) == 2
    tasks[1].send_signal(signal.SIGKILL)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(rf"rank 1 \(process {tasks[1].pid} on \S+\) has died", printed)
    assert "A job has ended without a result" in printed
    assert "Traceback" not in printed


def test_a_launcher_is_one_word_more(tmp_path):
    """The command line of a training stays as it is; what is asked of Hydra is answered without a job."""
    words = ["model=mirai", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "--cfg", "hydra"]
    command = [*TRAIN, *words, "--package", "hydra.launcher"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for line in ("partition: gpu", "gres: gpu:", "signal_delay_s: 120", "requeue: true", "array_parallelism: 256"):
        assert line in done.stdout
    assert list(tmp_path.iterdir()) == []
