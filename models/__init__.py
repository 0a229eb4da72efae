"""Keras models, their losses, input pipeline and export. Nothing here knows of TFX components."""
