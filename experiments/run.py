"""Run one experiment setting, or with -m or an experiment file that is a sweep, many.

    python -m experiments.run model=resnet8 criterion=l1 target.rf=2
    python -m experiments.run -m model=resnet8,vgg_small criterion=l1,random seed=0,1,2
    python -m experiments.run experiment=demo
    python -m experiments.run --include my_parts/ criterion=mine dataset=npz dataset.path=data.npz
    python -m experiments.run experiment=demo --estimate    # what it would take; nothing is run

A run's folder is results/runs/<experiment>/<run_id>/seed_<n>/. What is done is not run again unless
force=true; what fails is recorded, does not stop other runs, and makes the command end with code 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.config import arguments
from experiments.runs.launch import label, launch
from experiments.sweeps import choices, estimate
from spa.errors import SpaError

CONF = Path(__file__).resolve().parent.parent / "conf"


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def task(cfg: DictConfig) -> float:
    """Run what Hydra composed; returns what a search makes large or small, NaN for nothing."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.RUN and estimate.single(cfg):
        return float("nan")
    outcome = launch(cfg, list(hydra_config.overrides.task), label(hydra_config))
    if outcome.state == "failed" and hydra_config.mode == RunMode.RUN:
        raise SystemExit(1)
    return outcome.value


def main() -> None:
    """Check the names on the command line, then let Hydra run."""
    try:
        sys.argv[1:] = arguments.with_parts(arguments.with_estimate(sys.argv[1:]), CONF)
        if {"-h", "--help"} & set(sys.argv[1:]):
            from experiments.sweeps import help

            print(help.text(__doc__ or "", CONF), end="")
            return
        arguments.check(sys.argv[1:], CONF, choices.NAMES, choices.OPEN)
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    try:
        task()
    except KeyboardInterrupt:
        print("interrupted; launch again to go on", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
