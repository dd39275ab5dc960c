"""Face-emotion networks: our own, the paper's, and any ONNX or TorchScript file."""
