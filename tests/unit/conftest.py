"""The C library of the CPU's forward pass, compiled once for this processor and once as plain C."""

import pytest

from support.native import BUILDS, Native, build


@pytest.fixture(scope="session", params=sorted(BUILDS))
def native(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Native:
    """One of the builds."""
    return build(tmp_path_factory.mktemp("native"), BUILDS[request.param])
