"""What a training step has beside the gradient: rows, losses, the optimizer's update."""
