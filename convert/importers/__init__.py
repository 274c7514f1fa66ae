"""Importers that read a file into a graph: frozen graph, SavedModel, Keras, checkpoint, NumPy, OpenVINO IR, TFLite."""
