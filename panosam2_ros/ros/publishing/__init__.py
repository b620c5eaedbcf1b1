"""Publishers of results and visualizations."""
