"""From a folder of videos to a manifest, by its layout."""
