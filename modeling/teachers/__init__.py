"""Face-emotion networks: the compact one, the paper's, and any ONNX or TorchScript file."""
