"""The parts of the GPU's bench; see ../gpu.py."""
