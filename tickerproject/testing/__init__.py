"""What checks and tests need: an environment, and servers of their own."""
