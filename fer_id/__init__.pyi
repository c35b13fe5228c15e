from fer_id.callbacks.registry import register_callback as register_callback
from fer_id.models.build import build_model as build_model
from fer_id.models.config import ModelConfig as ModelConfig
from fer_id.reporting.report import write_report as write_report
from fer_id.runs.training_run import TrainingRun as RunDir
from fer_id.runs.training_run import evaluate as evaluate
from fer_id.tasks.classification import ClipClassification as ClipClassification

__all__ = [
    "ClipClassification",
    "ModelConfig",
    "RunDir",
    "build_model",
    "evaluate",
    "register_callback",
    "write_report",
]
__version__: str
