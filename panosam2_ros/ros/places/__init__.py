"""The node `panosam2_places`: places of tracked objects in space."""
