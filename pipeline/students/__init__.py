"""Running a student on audio and video files."""
