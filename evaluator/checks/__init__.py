"""Before the first run and before the push: doctor, validate, package."""
