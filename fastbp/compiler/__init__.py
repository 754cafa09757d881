"""How Numba compiles fastbp's functions, where their machine code is kept, and on how many threads it runs."""
