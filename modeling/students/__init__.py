"""Speech-emotion networks and their files, heads and ONNX export."""
