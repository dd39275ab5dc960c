"""Speech-emotion networks, their files, and what is built on a trained one."""
