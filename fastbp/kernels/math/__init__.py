"""Functions of vectors, and the activations, losses and links made of them."""
