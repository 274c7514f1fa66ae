"""Export of a graph to TensorFlow, TFLite and Keras."""
