"""fastbp trains dense neural networks on CPUs, straight from NumPy arrays, and shows what backpropagation does."""
