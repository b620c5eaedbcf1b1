"""A page for a browser: the live panorama, prompts, and what the node knows, over its public interface."""
