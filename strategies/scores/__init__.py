"""How informative is one image? Each score is a pure function of tensors; higher is better."""
