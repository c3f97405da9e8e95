"""What SLURM says of a sweep's jobs: which are in the queue, and why those wait that wait.

Most reasons pass: other jobs end, nodes come back, somebody lifts a hold. Some cannot, as they are
of what the job asks for (`NEVER`): a job that waits for one of these is in the queue for ever.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Reasons in the words of squeue (slurm.schedmd.com/job_reason_codes.html).
NEVER = re.compile(
    "PartitionConfig|PartitionNodeLimit|PartitionTimeLimit|BadConstraints|ReservationDeleted"
    "|InvalidAccount|InvalidQOS|AccountNotAllowed|QOSNotAllowed|DependencyNeverSatisfied"
    "|JobHoldMaxRequeue|(Assoc|QOS)(Max|Min)[A-Za-z]*(PerJob|PerNode|NotSatisfied)[A-Za-z]*"
    "|QOSMin(GRES|Memory|Node|Cpu)[A-Za-z]*"
)
ANSWER = 90.0  # seconds that squeue may take; SLURM itself waits for its controller so long


@dataclass(frozen=True)
class Queue:
    """The queue at one moment.

    Attributes:
        reasons: by the names of this user's jobs, why they wait; "" for those that do not.
        silence: why nothing is known; "" where SLURM answered.
    """

    reasons: Mapping[str, str]
    silence: str = ""

    def stuck(self, jobs: Iterable[str]) -> dict[str, str]:
        """Those of the jobs that can never start, with the reason."""
        found = {job: self.reasons.get(job, "") for job in jobs}
        return {job: reason for job, reason in found.items() if NEVER.fullmatch(reason)}

    def waiting(self, jobs: Iterable[str]) -> str:
        """Why jobs wait, in words: ``3 Priority, 1 Resources``; "" where none does."""
        found = [reason for job in jobs if (reason := self.reasons.get(job, ""))]
        return ", ".join(f"{found.count(each)} {each}" for each in sorted(set(found)))


def look() -> Queue:
    """Ask SLURM."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T %r"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Queue({}, str(error))
    if found.returncode:
        return Queue({}, found.stderr.strip() or f"squeue ended with code {found.returncode}")
    return Queue(dict(_told(line) for line in found.stdout.splitlines() if line.strip()))


def _told(line: str) -> tuple[str, str]:
    """A job and why it waits; SLURM writes None where it has not looked at a job yet."""
    job, state, reason = [*line.split(maxsplit=2), "", ""][:3]
    return job, "" if state != "PENDING" or reason.strip() == "None" else reason.strip()
