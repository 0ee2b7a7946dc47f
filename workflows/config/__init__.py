"""What a run is configured by: one YAML file, read strictly, and the ready configs that come with deepprompt."""

from workflows.config.load import find_config, load_config, ready_configs
from workflows.config.settings import Config

__all__ = ["Config", "find_config", "load_config", "ready_configs"]
