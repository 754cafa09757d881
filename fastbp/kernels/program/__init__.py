"""Programs of phases, their items shared out to workers, and the executor that runs them."""
