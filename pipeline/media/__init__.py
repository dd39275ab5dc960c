"""Files of pictures and sound: containers, frames on a grid, speech."""
