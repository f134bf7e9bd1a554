"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# A busy machine must not fail a test.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
