"""Files that are fetched once: packages from the index, weights of the detector and of teachers."""
