"""What an engineer runs: train a network of the book, use it, spread it, time it."""
