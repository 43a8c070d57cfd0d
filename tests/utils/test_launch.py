"""Which processes were started together, as torchrun, srun and older launchers say it; cores and versions."""

import os

import pytest

from lib.utils.errors import InputError
from lib.utils.launch import Launch, available_cores, package_versions, read_launch

LAUNCHED = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


def test_what_launchers_say():
    assert read_launch({}, local_rank=0) == Launch()
    assert read_launch({"WORLD_SIZE": "1", "RANK": "0"}) == Launch()
    assert read_launch(LAUNCHED, local_rank=3) == Launch(5, 8, 1, 4)
    without = {key: value for key, value in LAUNCHED.items() if key != "LOCAL_RANK"}
    assert read_launch(without, local_rank=3).local_rank == 3
    assert read_launch(without).local_rank == 1
    by_srun = {key: value for key, value in LAUNCHED.items() if key != "LOCAL_WORLD_SIZE"}
    assert read_launch(by_srun) == Launch(5, 8, 1, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MASTER_PORT": ""}, "MASTER_PORT not set: start with torchrun"),
        ({"RANK": "8"}, "RANK is 8 but WORLD_SIZE is 8"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE should be a number from 1 on, it is 'many'"),
    ],
)
def test_a_launcher_that_says_nonsense(changes, message):
    with pytest.raises(InputError, match=message):
        read_launch(LAUNCHED | changes)


def test_cores_and_versions():
    assert 1 <= available_cores() <= os.cpu_count()
    assert {"python", "torch", "numpy"} <= package_versions().keys()
