"""Deterministic fleets with labelled faults, written as JSON lines, CSV or Parquet archives."""

from telebeam.pipelines.simulation.batches import readings
from telebeam.pipelines.simulation.pace import Pace
from telebeam.pipelines.simulation.run import SimulationReport, planned_readings, simulate
from telebeam.pipelines.simulation.spec import FaultSpec, SimulationSpec, parse_faults, simulation_spec

__all__ = [
    "FaultSpec",
    "Pace",
    "SimulationReport",
    "SimulationSpec",
    "parse_faults",
    "planned_readings",
    "readings",
    "simulate",
    "simulation_spec",
]
