"""Release of a trained model: policy, gate, model card, signed bundle."""
