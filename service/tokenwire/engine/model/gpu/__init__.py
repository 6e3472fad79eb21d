"""The forward pass of a CUDA device: Triton kernels, flash attention, CUDA graphs."""
