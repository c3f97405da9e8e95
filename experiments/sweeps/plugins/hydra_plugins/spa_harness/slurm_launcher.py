"""hydra-submitit-launcher's SLURM launcher, with a patience of its own for the jobs.

That one asks sacct how jobs are, which a cluster without accounting does not answer, and gives all
of them up when one was killed. This one looks for what jobs leave and at the queue.

What jobs leave lies in a folder of the launch's own, as SLURM's numbers come again: after the
cluster was set up anew, on another cluster, or when its counter is full.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher import submitit_launcher

LOOK = 2.0  # seconds between two looks
# A job that has left the queue without a result may have one on a slow file system yet.
GRACE = 15.0
# A reason that cannot pass may be of a moment in which a cluster is set up.
STUCK = 20.0
SILENCE = 600.0  # a cluster that does not answer for so long is taken for gone
OWN = ("submitit_folder", "max_num_timeout")
ANY_CLUSTER = (
    *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes"),
    *("name", "stderr_to_stdout"),
)


class SlurmLauncher(submitit_launcher.SlurmLauncher):
    """Submits a job array and waits for every job of it."""

    def expect(self, seconds: float | None) -> None:
        """Warn of jobs that SLURM would end before a run is over.

        Args:
            seconds: what the longest run is expected to take; None: nobody knows.
        """
        from experiments.sweeps.partition import too_short
        from experiments.sweeps.sweep import say

        warning = too_short(seconds, self.params)
        if warning:
            say(warning)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Submit, and return what every job returned; status FAILED for one that left nothing.

        Raises:
            SettingError: there is no SLURM here, or it does not take the jobs.
        """
        from experiments.sweeps.sweep import say

        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        jobs = self._submitted(
            [list(overrides) for overrides in job_overrides],
            ["hydra.sweep.dir"] * len(numbers),
            numbers,
            [f"job_id_for_{number}" for number in numbers],
            [Singleton.get_state()] * len(numbers),
        )
        say(f"submitted {len(jobs)} jobs as {jobs[0].job_id.partition('_')[0]}")
        return self._wait(jobs)

    def _submitted(self, *arguments: Sequence[Any]) -> list[Any]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from spa.errors import SettingError

        try:
            executor = submitit.AutoExecutor(
                folder=launch_folder(self.params["submitit_folder"]),
                cluster="slurm",
                slurm_max_num_timeout=self.params["max_num_timeout"],
            )
            executor.update_parameters(
                **{
                    key if key in ANY_CLUSTER else f"slurm_{key}": value
                    for key, value in self.params.items()
                    if key not in OWN
                },
                # Tasks that train together must not outlive one another.
                slurm_srun_args=["--kill-on-bad-exit=1"],
            )
        except RuntimeError as error:  # submitit found no srun
            raise SettingError(
                f"hydra/launcher=slurm_* needs the commands of SLURM: {error}; "
                "slurm/local-cluster.sh start makes a cluster of this machine"
            ) from error
        try:
            return list(executor.map_array(self, *arguments))
        except (FailedJobError, FailedSubmissionError) as error:
            why = " ".join(str(error).split())
            raise SettingError(
                f"SLURM does not take the jobs: {why}; sinfo says what it has, and "
                "hydra.launcher.partition=NAME and the like ask for that"
            ) from error

    def _wait(self, jobs: list[Any]) -> list[JobReturn]:
        waiting = Waiting(jobs, self.params)
        while waiting.open:
            time.sleep(LOOK)
            waiting.look()
        return [waiting.returned[job.job_id] for job in jobs]


class Waiting:
    """Jobs that are waited for, and what those returned that have ended.

    Attributes:
        open: by name, the jobs that are still waited for.
        returned: by name, what came of the others.
    """

    def __init__(self, jobs: Sequence[Any], asked: dict[str, Any]) -> None:
        self.open = {job.job_id: job for job in jobs}
        self.returned: dict[str, JobReturn] = {}
        self._asked = asked
        self._gone, self._stuck, self._silent = Since(GRACE), Since(STUCK), Since(SILENCE)
        self._said = ""

    def look(self) -> None:
        """Take what jobs have left; give up those of which nothing is to come."""
        from experiments.sweeps.queue import look

        queue = look()
        for name, job in list(self.open.items()):
            if job.paths.result_pickle.exists():
                self._end(name, _result(job))
        if queue.silence:
            self._say(f"SLURM does not answer: {queue.silence}")
            if self._silent.over("SLURM"):
                for name in list(self.open):
                    self._end(name, _failed(name, f"SLURM has not answered for {SILENCE:.0f} s"))
            return
        self._silent.forget("SLURM")
        stuck = queue.stuck(self.open)
        if stuck:
            self._say(f"error: {_advice(stuck, self._asked)}")
        elif why := queue.waiting(self.open):
            self._say(f"jobs that wait, and why: {why}")
        for name, job in list(self.open.items()):
            if self._gone.over(name, name not in queue.reasons):
                self._end(name, _failed(name, f"it ended without a word; see {job.paths.stderr}"))
            elif self._stuck.over(name, name in stuck):
                job.cancel(check=False)
                self._end(name, _failed(name, f"given up, as it can never start: {stuck[name]}"))

    def _end(self, name: str, what: JobReturn) -> None:
        self.returned[name] = what
        del self.open[name]

    def _say(self, text: str) -> None:
        """Says what was not the last thing said."""
        from experiments.sweeps.sweep import say

        if text != self._said:
            self._said = text
            say(text)


class Since:
    """Since when something holds, by name, and whether that is long enough."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[str, float] = {}

    def over(self, name: str, holds: bool = True) -> bool:
        """Whether it holds now, and has for so long."""
        if not holds:
            self.forget(name)
            return False
        now = time.monotonic()
        return now - self._since.setdefault(name, now) > self.seconds

    def forget(self, name: str) -> None:
        """It does not hold now."""
        self._since.pop(name, None)


def launch_folder(given: str) -> Path:
    """Where one launch's jobs leave their files, a folder for each: ``<given>/<launch>/%j``."""
    launch = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
    return Path(given) / launch / "%j"


def _advice(stuck: dict[str, str], asked: dict[str, Any]) -> str:
    reasons = " and ".join(sorted(set(stuck.values())))
    keys = ("partition", "cpus_per_task", "gpus_per_node", "mem_gb", "timeout_min")
    what = ", ".join(f"{key}={asked[key]}" for key in keys if asked.get(key) is not None)
    return (
        f"{len(stuck)} jobs can never start: SLURM's reason is {reasons}; they ask for {what}, "
        "which hydra.launcher.cpus_per_task=1 and the like change; sinfo -l says what there is"
    )


def _result(job: Any) -> JobReturn:
    try:
        returned: JobReturn = job.results()[0]
        return returned
    except Exception as error:  # submitit's: what the job raised
        why = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return _failed(job.job_id, why)


def _failed(name: str, why: str) -> JobReturn:
    from experiments.sweeps.sweep import say

    say(f"error: job {name}: {why}")
    job = JobReturn()
    job.status = JobStatus.FAILED
    job.return_value = RuntimeError(why)
    return job
