"""What wraps or makes a whole network."""

from hyperkeras.models.adapters.lora_hypernetwork import LoRAHypernetwork
from hyperkeras.models.architectures.computation_graph import computation_graph
from hyperkeras.models.architectures.graph_hypernetwork import GraphHypernetwork
from hyperkeras.models.continual.infer_task import infer_task
from hyperkeras.models.freeze import freeze
from hyperkeras.models.hypernetworks.continual_hypernetwork import ContinualHypernetwork
from hyperkeras.models.hypernetworks.hypernetwork import Hypernetwork
from hyperkeras.models.intervals.interval_hypernetwork import IntervalHypernetwork
from hyperkeras.models.intervals.interval_ramp import IntervalRamp
from hyperkeras.models.wide_resnet import wide_resnet

__all__ = [
    "ContinualHypernetwork",
    "GraphHypernetwork",
    "Hypernetwork",
    "IntervalHypernetwork",
    "IntervalRamp",
    "LoRAHypernetwork",
    "computation_graph",
    "freeze",
    "infer_task",
    "wide_resnet",
]
