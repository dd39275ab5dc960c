"""Running a student over audio and video files."""
