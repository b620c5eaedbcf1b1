"""Tracking whole videos, bags and folders into files; no ROS is needed."""
