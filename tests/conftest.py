"""Settings of all tests."""

from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# A busy machine must not fail a test.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


class ByFile(LoadScopeScheduling):
    """A file's tests share a worker, and so their fixtures."""

    def _split_scope(self, nodeid):
        return nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """The longest first, and the rest beside it."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)
