"""What is fetched once: packages from the index, weights of detector and teachers."""
