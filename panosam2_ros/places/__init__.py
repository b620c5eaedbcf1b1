"""Places of tracked objects in space: from ranges inside their masks, or from bearings on the way."""
