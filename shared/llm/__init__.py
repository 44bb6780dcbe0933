"""The model client: one file per provider, one transport for all of them."""
