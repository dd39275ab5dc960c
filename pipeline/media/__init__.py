"""Media files: containers, frames on a time grid, speech."""
