"""What would distract from a chapter: data, training, counting, drawing."""
