"""Face-emotion networks: the compact one, the paper's, any ONNX or TorchScript file."""
