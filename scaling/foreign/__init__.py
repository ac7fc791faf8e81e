"""Weights from and for other programs: Hugging Face directories of safetensors."""
