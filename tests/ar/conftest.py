"""One Alpha-Refine network with the reference weights for all tests of this folder."""

import pytest

from external.AR.network import AlphaRefineNetwork
from tests.golden.ar.recipe import make_weights


@pytest.fixture(scope="session")
def network() -> AlphaRefineNetwork:
    network = AlphaRefineNetwork().eval()
    network.load_state_dict(make_weights(network.state_dict(), "b"))
    return network
