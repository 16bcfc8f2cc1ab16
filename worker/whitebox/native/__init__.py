"""Kernels in C for CPUs with AVX-512: what few rows cost most, in few passes over memory."""
