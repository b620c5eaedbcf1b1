"""The node's services and the clicked point."""
