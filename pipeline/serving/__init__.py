"""A student behind HTTP: answers to uploaded files, a live timeline, and a page to talk to."""
