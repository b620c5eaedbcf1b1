"""Material of training scenes: people, solid models, HDR panoramas. Laboratory."""
