"""A selection rule, a loss and a threat model for sat-core; `pyproject.toml` names them."""
