import pytest
import torch

from lib.utils.checkpoint import load_checkpoint
from tests.threads import one_thread  # noqa: F401 - a fixture
from tests.train.world import make_trainer, tiny_config


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """The last checkpoint of a run of ``tiny_config()`` that nothing interrupts."""
    torch.set_num_threads(1)
    trainer = make_trainer(tiny_config(), tmp_path_factory.mktemp("whole_run"))
    assert trainer.train() == 0
    return load_checkpoint(trainer.store.latest())
