"""Post-purchase training: what a purchase is worth, by a fixed pipeline."""
