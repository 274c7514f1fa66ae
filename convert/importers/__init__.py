"""From a file to a graph: frozen graphs, SavedModels, checkpoints, arrays, OpenVINO IR, TFLite."""
