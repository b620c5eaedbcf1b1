"""The demo: a virtual camera, the node and a planner as processes, and a report of the run."""
