"""All other networks: features in the lanes, matrix products by microtiles."""
