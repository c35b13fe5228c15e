"""Lightning loggers: ``RunLogger`` (``metrics.jsonl``) and ``PrivateWandbLogger`` with its rules of disclosure."""

from fer_id.exports import lazy_exports

__all__ = ["PrivateWandbLogger", "RunLogger"]

__getattr__ = lazy_exports(
    __name__, {"PrivateWandbLogger": "fer_id.loggers.wandb", "RunLogger": "fer_id.loggers.run_logger"}
)
