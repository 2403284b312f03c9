"""Image files and label tables on disk: found, decoded, checked."""
