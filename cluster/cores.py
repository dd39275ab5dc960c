"""How many cores of this machine we may use."""

import joblib


def local_cores() -> int:
    """Cores this process may use, at least 1. Joblib respects a CPU set (taskset, a container's) and a container's CPU
    quota (`docker --cpus`, a Kubernetes limit), rounded up."""
    return joblib.cpu_count()
