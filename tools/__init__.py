"""Programs for whoever works on the package; run from the checkout, never installed."""
