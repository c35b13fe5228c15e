from fer_id.callbacks.grad_cam_panel import GradCamPanel as GradCamPanel
from fer_id.callbacks.registry import register_callback as register_callback
from fer_id.callbacks.step_outputs import ClassMetrics as ClassMetrics
from fer_id.callbacks.subgroup_fairness import SubgroupFairness as SubgroupFairness
from fer_id.callbacks.weight_average import WeightAverage as WeightAverage
