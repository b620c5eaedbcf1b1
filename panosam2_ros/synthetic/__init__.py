"""Material for training scenes: people, solid models, HDR panoramas. Laboratory."""
