"""Full-integer networks that keep their accuracy: equalized, calibrated, rounded layer by layer, written as TFLite."""
