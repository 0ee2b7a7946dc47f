"""Artifacts as adapters of the PEFT library, and back. Reading and writing its files needs safetensors and JSON alone.

PEFT's file is one prompt and, if its class has one, a head; everything else that an artifact knows travels beside it,
in files that PEFT passes by.
"""

from pipeline.registry.peft.make import Wanted, import_adapter
from pipeline.registry.peft.read import Adapter, read_adapter
from pipeline.registry.peft.write import Exported, export_adapter

__all__ = ["Adapter", "Exported", "Wanted", "export_adapter", "import_adapter", "read_adapter"]
