"""Full-integer networks that keep their accuracy: equalised, calibrated, rounded layer by layer, written as TFLite."""
