"""OpenVINO: the deployed graph, its compilation, INT8, kernels, and the work in a graph."""
