from fer_id.loggers.run_logger import RunLogger as RunLogger
from fer_id.loggers.wandb import PrivateWandbLogger as PrivateWandbLogger
