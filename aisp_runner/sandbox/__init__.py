"""What the kernel refuses a worker process: writing elsewhere, other processes, the network.

policy.py says what is asked for, landlock.py and seccomp.py ask the kernel, confine.py does both and reports.
"""

from aisp_runner.sandbox.confine import PARTS, confine, facts, sufficient
from aisp_runner.sandbox.policy import Sandbox

__all__ = ["PARTS", "Sandbox", "confine", "facts", "sufficient"]
