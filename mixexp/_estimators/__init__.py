"""The two estimators: parameters to parts, parts to a model, a model's answers."""
