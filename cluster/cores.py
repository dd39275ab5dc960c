"""How much of this machine is ours."""

import joblib


def local_cores() -> int:
    """Cores this process may use: a CPU set (taskset, a container's) and the CPU quota of a container (`docker --cpus`,
    a Kubernetes limit; rounded up) are respected, as joblib reads them. At least 1."""
    return joblib.cpu_count()
