"""Between a user's arrays and a kernel."""
