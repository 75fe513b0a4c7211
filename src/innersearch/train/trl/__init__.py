"""The TRL adapter."""
