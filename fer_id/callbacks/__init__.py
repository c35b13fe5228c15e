"""Lightning callbacks for logging, explanation, checkpoints and resuming, on batches of clips."""

from fer_id.exports import lazy_exports

__all__ = ["ClassMetrics", "GradCamPanel", "SubgroupFairness", "WeightAverage", "register_callback"]

__getattr__ = lazy_exports(
    __name__,
    {
        "ClassMetrics": "fer_id.callbacks.step_outputs",
        "GradCamPanel": "fer_id.callbacks.grad_cam_panel",
        "SubgroupFairness": "fer_id.callbacks.subgroup_fairness",
        "WeightAverage": "fer_id.callbacks.weight_average",
        "register_callback": "fer_id.callbacks.registry",
    },
)
