"""The `vfi` command."""
