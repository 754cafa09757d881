"""The one door to Numba."""
