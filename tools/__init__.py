"""What the Makefile and the tests need and no public tool does."""
