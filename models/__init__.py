"""The buyer's eyes: image bank, backbones and the learner the buyer trains."""
