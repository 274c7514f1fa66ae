"""Post-training quantization: calibration, channel equalization, layer-wise weight rounding, integer TFLite files."""
