"""Custom TFX components, each thin: read artifacts, call a pure function, write artifacts."""
