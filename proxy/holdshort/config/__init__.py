"""What the user wrote, made into values: `holdshort.yaml`, its policy layers, and every problem with its place."""

from holdshort.config.load import load_config, wrap_config
from holdshort.config.model import (
    DEFAULT_LISTEN,
    LOCAL_AGENT,
    AgentConfig,
    ApproverConfig,
    Config,
    ConfigErrors,
    HoldConfig,
    LimitsConfig,
    Listen,
    Problem,
    ServerConfig,
    Transport,
)

__all__ = [
    "DEFAULT_LISTEN",
    "LOCAL_AGENT",
    "AgentConfig",
    "ApproverConfig",
    "Config",
    "ConfigErrors",
    "HoldConfig",
    "LimitsConfig",
    "Listen",
    "Problem",
    "ServerConfig",
    "Transport",
    "load_config",
    "wrap_config",
]
