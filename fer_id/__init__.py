"""fer_id: facial emotion recognition for children with intellectual disabilities. The science; no dataset, no config, no CLI."""

__version__ = "0.1.0"
