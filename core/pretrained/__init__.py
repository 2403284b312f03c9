"""Networks with ImageNet weights that nobody trains any further, and what they make of images.

Shared by buyer and evaluator: one loader of weights, one definition of the views in which images
are shown, one format in which features are kept.
"""
