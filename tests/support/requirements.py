"""Requirements that a machine may lack. A test is then skipped, or fails if the environment says that they must be there.

`python -m tests.support.requirements` exits with 0 if the real data is there, else with 1.
"""

import os
import sys
from pathlib import Path

DATA_DIR = Path(os.environ.get("EMOVOX_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def data_is_there() -> bool:
    return (DATA_DIR / "video" / "manifest.csv").exists()


def skip_or_fail(reason: str, variable: str) -> None:
    """Ends the test: failed if the variable is 1, else skipped."""
    import pytest

    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def require_data() -> Path:
    if not data_is_there():
        reason = "no test data: set EMOVOX_TEST_DATA to a folder with ferplus/, video/, speech/ and weights/"
        skip_or_fail(reason, "EMOVOX_REQUIRE_DATA")
    return DATA_DIR


def require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        skip_or_fail("torch finds no GPU", "EMOVOX_REQUIRE_GPU")


if __name__ == "__main__":
    sys.exit(0 if data_is_there() else 1)
