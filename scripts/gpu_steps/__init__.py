"""The steps of scripts/gpu_check.py, and how one is run."""
