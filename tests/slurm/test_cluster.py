"""Trainings on a real Slurm: sweeps as array jobs, jobs of two processes, preemption at any moment."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from helpers.forked_commands import kill_all
from helpers.interrupted_sweeps import jobs_of as search_jobs
from helpers.interrupted_sweeps import starts
from helpers.places import ROOT
from helpers.slurm_jobs import disturb, epochs_done, hurry, job_field, slurm, state, wait_until
from helpers.training_runs import TINY, TORCHRUN, assert_same_training, environment, last_epoch, only_run, start, train
from omegaconf import OmegaConf

from mammorisk.sweeps.states import FINISHED, progress_of

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which("sbatch") is None, reason="there is no Slurm here: make test-slurm"),
]

BIN = Path(sys.executable).parent
SLURM = ["hydra/launcher=slurm", "hydra.launcher.gres=null", "hydra.launcher.cpus_per_task=1"]
TWO = ["model=lmv_net", "dataset.batch_size=4", "trainer.num_processes=2", "trainer.num_epochs=8"]
TWO += ["trainer.patience=100"]


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path):
    """A test that fails leaves no job and no waiting command."""
    yield
    found = [path.name for path in tmp_path.glob("outputs/sweep_*/.submitit/*") if path.name[0].isdigit()]
    found += [path.stem.removeprefix("slurm-") for path in tmp_path.glob("slurm-*.log")]
    for job in found:
        subprocess.run(["scancel", job], capture_output=True, timeout=60)
    kill_all()


def jobs_of(sweep: Path) -> list[str]:
    """The numbers of a sweep's jobs, in their order, as soon as they are submitted."""

    def submitted() -> list[str]:
        names = [path.name for path in sweep.glob(".submitit/*") if re.fullmatch(r"\d+(_\d+)?", path.name)]
        jobs = [name for name in names if "_" in name] or names
        return sorted(jobs, key=lambda name: int(name.rpartition("_")[2]))

    return wait_until("the jobs are submitted", submitted)


def sweep_of(folder: Path) -> Path:
    return wait_until("a sweep has started", lambda: next(folder.glob("outputs/sweep_*"), None))


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    printed, _ = process.communicate(timeout=400)
    assert process.returncode == status, printed
    return printed


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory) -> dict[str, object]:
    """What two processes under torchrun come to."""
    folder = tmp_path_factory.mktemp("torchrun")
    train(folder, *TWO, launcher=TORCHRUN)
    return last_epoch(only_run(folder))


def test_one_command_trains_a_grid_as_an_array(tmp_path):
    process = start(tmp_path, "model=mirai,lmv_net", "seed=1,2", *SLURM, "trainer.num_epochs=1")
    sweep = sweep_of(tmp_path)
    jobs = wait_until("four jobs", lambda: found if len(found := jobs_of(sweep)) == 4 else None)
    assert [job.partition("_")[2] for job in jobs] == ["0", "1", "2", "3"]
    assert len({job.partition("_")[0] for job in jobs}) == 1  # one array
    finish(process)
    configs = [OmegaConf.load(path / "config.yaml") for path in sorted(sweep.glob("Model_*"))]
    trained = sorted((config.model._target_.rpartition(".")[2], config.seed) for config in configs)
    assert trained == [("LMVNet", 1), ("LMVNet", 2), ("Mirai", 1), ("Mirai", 2)]
    assert len(list(sweep.glob("Model_*/*_last_epoch.pth"))) == 4


def test_a_search_that_is_interrupted_is_finished_by_the_same_command(tmp_path):
    """Of its second pair of trials one is cancelled; the search itself is killed while the other trains."""
    words = ["hparams=tpe", "model=mirai", "trainer.num_epochs=6", "trainer.patience=100", *SLURM]
    words += ["hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=2"]
    process = start(tmp_path, *words)
    sweep = sweep_of(tmp_path)

    def second_pair() -> list[Path]:
        """Its run directories, when both have trained an epoch."""
        found = search_jobs(sweep)[2:]
        return found if len(found) == 2 and all(map(epochs_done, found)) else []

    cancelled, _ = wait_until("a second pair trains", second_pair)
    array = max(int(path.name.partition("_")[0]) for path in sweep.glob(".submitit/[0-9]*_0"))
    slurm("scancel", f"{array}_0")
    process.kill()
    process.wait()
    printed = train(tmp_path, *words)
    assert "best of 6 finished trials: " in printed
    jobs = search_jobs(sweep)
    assert len(jobs) == 6
    assert [progress_of(job).state for job in jobs] == [FINISHED] * 6
    assert [starts(job) for job in jobs] == [2 if job == cancelled else 1 for job in jobs]
    for job in jobs:
        assert pd.read_csv(job / "metrics.csv")["epoch"].tolist() == list(range(1, 7))


def test_what_slurm_refuses_is_a_message(tmp_path):
    printed = train(tmp_path, "model=mirai", *SLURM, "hydra.launcher.partition=nowhere", status=1)
    assert "invalid partition specified: nowhere" in printed
    assert "Traceback" not in printed


def test_a_job_of_two_tasks_is_the_training_of_torchrun_disturbed_or_not(tmp_path, torchrun):
    settings = [*TWO, "id_training=1,2", *SLURM, "hydra.launcher.tasks_per_node=2"]
    process = start(tmp_path, *settings)
    sweep = sweep_of(tmp_path)
    first, second = wait_until("two jobs", lambda: found if len(found := jobs_of(sweep)) == 2 else None)
    wait_until(f"job {first} has ended", lambda: state(first) == "COMPLETED")
    run = wait_until("the second run", lambda: next(sweep.glob("Model_*_job_1"), None))
    for how, epoch in (("USR1", random.randint(1, 3)), ("requeue", random.randint(4, 6))):
        wait_until(f"epoch {epoch}", lambda epoch=epoch: epochs_done(run) >= epoch)
        time.sleep(random.uniform(0.0, 0.5))
        disturb(second, how)
    finish(process)
    assert job_field(second, "Restarts") == "2"
    for number in (0, 1):
        (run,) = sweep.glob(f"Model_*_job_{number}")
        assert_same_training(last_epoch(run), torchrun)
        assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == list(range(1, 9))


def moments(kinds: str, from_start: bool) -> list[tuple[str, float]]:
    """(how, when) a job is disturbed: below 1 a share of its start, else epochs done and a share of the next."""
    ranges = [(0.0, 0.9)] if from_start else []
    ranges += [(1.0, 4.9), (5.0, 9.0)]
    hows = ["requeue" if kind == "r" else "USR1" for kind in kinds]
    return [(how, random.uniform(*each)) for how, each in zip(hows, ranges, strict=True)]


def tracks_of(run: Path) -> list[Path]:
    """What W&B recorded, a folder a start."""
    return list((run / "wandb").glob("offline-run-*"))


def wait_for_moment(when: float, run: Path, job: str, sweep: Path, tracks: int) -> None:
    """``tracks``: how many there were before this start; in an epoch its own is among them."""
    log = sweep / ".submitit" / job / f"{job}_0_log.out"
    starts = int(job_field(job, "Restarts")) + 1
    said = "Starting with JobEnvironment"
    wait_until(f"start {starts} of job {job}", lambda: log.exists() and log.read_text().count(said) >= starts)
    if when >= 1:
        wait_until(f"start {starts} of job {job} is tracked", lambda: len(tracks_of(run)) > tracks)
        wait_until(f"epoch {int(when)} of job {job}", lambda: epochs_done(run) >= int(when))
    time.sleep(6 * when if when < 1 else when % 1)


def test_disturbed_at_random_moments_it_is_the_undisturbed_training(tmp_path):
    """Three jobs, disturbed eight times by requeue and by a signal, against a fourth that trains the same in peace."""
    settings = ["model=mirai", "trainer.num_epochs=14", "trainer.patience=100", "dataset.num_workers=1"]
    tracked = ["tracking=wandb", "tracking.mode=offline"]
    process = start(tmp_path, *settings, *tracked, "id_training=1,2,3,4", *SLURM)
    sweep = sweep_of(tmp_path)
    jobs = wait_until("four jobs", lambda: found if len(found := jobs_of(sweep)) == 4 else None)
    runs = [sweep / f"Model_mirai_lr_0.001_wd_0.0001_epochs_14_bs_8_job_{number}" for number in range(4)]
    plans = [[], moments("urr", from_start=True), moments("ruu", from_start=True), moments("ru", from_start=False)]

    def follow(job: str, run: Path, plan: list[tuple[str, float]]) -> None:
        tracks = 0
        for how, when in plan:
            print(f"job {job}: {how} at {when:.2f}")
            wait_for_moment(when, run, job, sweep, tracks)
            disturb(job, how)
            tracks = len(tracks_of(run))

    with ThreadPoolExecutor() as pool:  # a job does not wait for the others' disturbances
        list(pool.map(follow, jobs, runs, plans))
    finish(process)
    expected = last_epoch(runs[0])
    for job, run, plan in zip(jobs, runs, plans, strict=True):
        assert job_field(job, "Restarts") == str(len(plan))
        assert_same_training(last_epoch(run), expected)
        assert (run / "metrics.csv").read_bytes() == (runs[0] / "metrics.csv").read_bytes()
        assert pd.read_csv(run / "metrics.csv")["epoch"].tolist() == list(range(1, 15))
        names = [path.name for path in tracks_of(run)]
        assert len({name.rpartition("-")[2] for name in names}) == 1  # one run of W&B ...
        assert len(names) >= 1 + sum(when >= 1 for _, when in plan)  # ... from all starts


def sbatch(folder: Path, *words: str, **options: str) -> str:
    """Submit launchers/slurm.sbatch as the documentation says; the number of the job."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = ["sbatch", "--parsable", "--cpus-per-task=1", *flags, str(ROOT / "launchers/slurm.sbatch"), *TINY, *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(BIN=str(BIN)), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_batch_script_trains_on_all_its_tasks(tmp_path, torchrun):
    job = sbatch(tmp_path, *TWO, ntasks_per_node="2")
    wait_until(f"job {job} has ended", lambda: state(job) in ("COMPLETED", "FAILED"))
    assert state(job) == "COMPLETED", (tmp_path / f"slurm-{job}.log").read_text()
    run = only_run(tmp_path)
    assert run.name.endswith(f"-job{job}")
    assert_same_training(last_epoch(run), torchrun)
    assert len(list(run.glob("*.log"))) == 1


def test_out_of_time_the_batch_script_goes_on_and_cancelled_it_ends(tmp_path):
    settings = ["model=mirai", "trainer.num_epochs=5000", "trainer.patience=5000", "optim.use_scheduler=false"]
    job = sbatch(tmp_path, *settings, time="1", signal="USR1@20")
    log = tmp_path / f"slurm-{job}.log"
    wait_until("it is out of time", lambda: int(job_field(job, "Restarts")) == 1)
    before = epochs_done(only_run(tmp_path))
    assert "stopped by SIGUSR1; the training is saved" in log.read_text()
    assert f"mammorisk: requeued job {job}" in log.read_text()
    hurry(job)
    wait_until("it goes on", lambda: epochs_done(only_run(tmp_path)) > before)
    assert "resumed from" in log.read_text()
    slurm("scancel", job)
    wait_until("it has ended", lambda: state(job) == "CANCELLED")
    time.sleep(3)
    assert (state(job), job_field(job, "Restarts")) == ("CANCELLED", "1")


def test_a_task_that_dies_ends_the_job_and_is_named(tmp_path):
    long = ["trainer.num_epochs=5000", "trainer.patience=5000", "trainer.save_every_minutes=0"]
    job = sbatch(tmp_path, *TWO, *long, ntasks_per_node="2")
    wait_until("it trains", lambda: list(tmp_path.glob("outputs/*/resume.pth")))
    found = slurm("scontrol", "listpids", job).splitlines()
    (task,) = [line.split()[0] for line in found if line.split()[2:5] == ["0", "1", "1"]]
    subprocess.run(["kill", "-KILL", task], check=True)
    died = time.monotonic()
    wait_until("the job has failed", lambda: state(job) == "FAILED", seconds=60)
    assert time.monotonic() - died < 60
    said = (tmp_path / f"slurm-{job}.log").read_text()
    assert f"rank 1 (process {task} on " in said
    assert "has died, so this run ends" in said
    assert job_field(job, "Restarts") == "0"
