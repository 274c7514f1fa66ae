"""From a graph to TensorFlow, TFLite and Keras."""
