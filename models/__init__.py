"""The buyer's model: image bank, backbones and the learner that the buyer trains."""
