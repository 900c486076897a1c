"""Suites that run on every registry, and what they need."""

import pytest

pytest.register_assert_rewrite("registry.support", "registry.contract", "registry.faults", "registry.network")
