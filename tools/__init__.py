"""Programs for the development of the package, run from the checkout and never installed."""

import panosam2_ros  # noqa: F401, before torch: how its threads wait is set there
