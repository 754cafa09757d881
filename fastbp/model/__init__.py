"""What a network is: its description, its parameters, its functions."""
