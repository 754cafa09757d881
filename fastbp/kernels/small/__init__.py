"""Networks with one hidden layer, few inputs and few outputs: samples in the lanes."""
