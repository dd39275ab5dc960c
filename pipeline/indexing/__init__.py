"""From a folder of videos to a manifest; one file for each layout."""
