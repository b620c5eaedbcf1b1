"""The network: one part per file, ``panosam2.py`` composes them, ``build.py`` reads weights."""
