"""What this installation has, and whether that works on this machine.

``diagnose`` runs the probes of ``probes.py`` in a process of their own, so that whatever a damaged
library or a driver does to that process is a finding, too.
"""

from pyramidflow.diagnosis.diagnosis import Diagnosis, diagnose
from pyramidflow.diagnosis.finding import Finding, State

__all__ = ["Diagnosis", "Finding", "State", "diagnose"]
