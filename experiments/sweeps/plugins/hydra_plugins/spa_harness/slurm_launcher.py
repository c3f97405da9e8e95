"""hydra-submitit-launcher's SLURM launcher, with a patience of its own for the jobs.

That one asks sacct how jobs are, which a cluster without accounting does not answer, and gives all
of them up when one was killed. This one looks for what jobs leave and at the queue.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra_plugins.hydra_submitit_launcher import submitit_launcher

LOOK = 2.0  # seconds between two looks
# A job that has left the queue without a result may have one on a slow file system yet.
GRACE = 15.0
OWN = ("submitit_folder", "max_num_timeout")
ANY_CLUSTER = (
    *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes"),
    *("name", "stderr_to_stdout"),
)


class SlurmLauncher(submitit_launcher.SlurmLauncher):
    """Submits a job array and waits for every job of it."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Submit, and return what every job returned; ``failed`` for one that left nothing."""
        import submitit

        from experiments.sweeps.sweep import say

        executor = submitit.AutoExecutor(
            folder=self.params["submitit_folder"],
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
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        jobs = executor.map_array(
            self,
            [list(overrides) for overrides in job_overrides],
            ["hydra.sweep.dir"] * len(numbers),
            numbers,
            [f"job_id_for_{number}" for number in numbers],
            [Singleton.get_state()] * len(numbers),
        )
        say(f"submitted {len(jobs)} jobs as {jobs[0].job_id.partition('_')[0]}")
        return self._wait(jobs)

    def _wait(self, jobs: list[Any]) -> list[JobReturn]:
        from experiments.sweeps.sweep import say

        returned: dict[str, JobReturn] = {}
        gone: dict[str, float] = {}
        while len(returned) < len(jobs):
            time.sleep(LOOK)
            queued = _queued()
            for job in jobs:
                name = job.job_id
                if name in returned:
                    continue
                if job.paths.result_pickle.exists():
                    returned[name] = _result(job)
                elif queued is None or name in queued:
                    gone.pop(name, None)
                elif time.monotonic() - gone.setdefault(name, time.monotonic()) > GRACE:
                    say(f"error: job {name} ended without a word; see {job.paths.stderr}")
                    returned[name] = _failed()
        return [returned[job.job_id] for job in jobs]


def _queued() -> set[str] | None:
    """Names of this user's jobs in the queue; None where SLURM does not answer now."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    found = subprocess.run(command, capture_output=True, text=True)
    return None if found.returncode else set(found.stdout.split())


def _result(job: Any) -> JobReturn:
    from experiments.sweeps.sweep import say

    try:
        returned: JobReturn = job.results()[0]
        return returned
    except Exception as error:  # submitit's: what the job raised
        say(f"error: job {job.job_id}: {str(error).strip().splitlines()[-1]}")
        return _failed()


def _failed() -> JobReturn:
    job = JobReturn()
    job.status, job.return_value = JobStatus.COMPLETED, "failed"
    return job
