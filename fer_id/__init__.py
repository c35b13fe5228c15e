"""Facial emotion recognition for children with intellectual disabilities: the library, made of Lightning parts.

Its names are imported when they are used: ``import fer_id`` loads no torch.
"""

from fer_id.exports import lazy_exports

__version__ = "0.1.0"

__all__ = [
    "ClipClassification",
    "ModelConfig",
    "RunDir",
    "build_model",
    "evaluate",
    "register_callback",
    "write_report",
]

_get = lazy_exports(
    __name__,
    {
        "ClipClassification": "fer_id.tasks.classification",
        "ModelConfig": "fer_id.models.config",
        "TrainingRun": "fer_id.runs.training_run",
        "build_model": "fer_id.models.build",
        "evaluate": "fer_id.runs.training_run",
        "register_callback": "fer_id.callbacks.registry",
        "write_report": "fer_id.reporting.report",
    },
)


def __getattr__(name: str) -> object:
    """Import a name when it is used; ``RunDir`` here is the one that can be begun."""
    return _get("TrainingRun" if name == "RunDir" else name)
