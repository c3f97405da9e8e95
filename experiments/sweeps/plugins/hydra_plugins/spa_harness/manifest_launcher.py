"""A launcher that runs nothing: it writes the runs down for a job array and says how to submit it.

For clusters on which jobs cannot be submitted from Python: ``hydra/launcher=manifest``.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher


@dataclass
class ManifestLauncherConf:
    """What ``hydra.launcher`` takes."""

    _target_: str = "hydra_plugins.spa_harness.manifest_launcher.ManifestLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="manifest", node=ManifestLauncherConf, provider="spa_harness"
)


class ManifestLauncher(Launcher):
    """Writes down what is to be run.

    Attributes:
        launches: that runs wait afterwards is what it is for.
    """

    launches = False

    def __init__(self) -> None:
        self.config: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Take what Hydra gives every launcher."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        """Write a file of tasks for every experiment, and print the command that submits it."""
        from experiments.sweeps import manifest, sweep

        loader = self.hydra_context.config_loader
        planned = sweep.plan(loader, self.config, [list(run) for run in job_overrides])
        for (results, experiment), lines in sweep.entries_by_place(planned).items():
            path = manifest.write_tasks(results, experiment, lines)
            array = f"--array=0-{len(lines) - 1}"  # or gpu.sbatch
            print(shlex.join(["sbatch", array, "slurm/cpu.sbatch", str(path)]))
        return []
