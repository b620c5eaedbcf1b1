"""Programs for the development of the package, run from the checkout and never installed."""
