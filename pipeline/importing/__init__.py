"""Published labels as a distillation set: MAT files, the wavs that they name, and the rows of both."""
