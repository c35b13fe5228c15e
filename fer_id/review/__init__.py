"""A model's answers about a video, laid before a person: what it says, what it leaves to them, what they correct."""
