"""Running a network: the order of its layers, and what is kept in between."""
