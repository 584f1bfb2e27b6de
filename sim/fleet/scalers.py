"""Every scaler a scenario can choose, so that looking for the kinds of `Scaler` finds them all."""

from sim.fleet.keep_alive import HybridHistogram, SkiRental
from sim.fleet.knative import KnativeKpa
from sim.fleet.kubernetes import Keda, KubernetesHpa
from sim.fleet.ray_serve import RayServe
from sim.fleet.scaling import AlwaysOn, Controller, NoReplicas, QueueScaleOut, Scaler, ScaleToZero
from sim.fleet.serverless import Baseten, Modal, RunpodQueueDelay, RunpodRequestCount
from sim.fleet.sla_planner import SlaPlanner
from sim.fleet.timetable import Timetable

__all__ = [
    "AlwaysOn", "Baseten", "Controller", "HybridHistogram", "Keda", "KnativeKpa", "KubernetesHpa", "Modal",
    "NoReplicas", "QueueScaleOut", "RayServe", "RunpodQueueDelay", "RunpodRequestCount", "ScaleToZero", "Scaler", 
    "SkiRental", "SlaPlanner", "Timetable",
]  # fmt: skip
