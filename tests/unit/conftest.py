"""How the property tests run."""

from __future__ import annotations

from hypothesis import settings

# A deadline for each example would be a test of the machine.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
