"""What the user wrote, made into values: `holdshort.yaml`, its policy layers, and every problem with its place."""

from holdshort.config.load import BadLabel, is_layer_file, load_config, load_layer, wrap_config
from holdshort.config.loosening import acknowledged, acknowledgement, surroundings
from holdshort.config.model import (
    DEFAULT_LISTEN,
    AgentConfig,
    ApproverConfig,
    Config,
    ConfigErrors,
    HoldConfig,
    LimitsConfig,
    Listen,
    Problem,
    RecordConfig,
    ServerConfig,
    Transport,
    UnknownPeople,
)
from holdshort.config.packs import Pack, pack_names, pack_path, read_pack
from holdshort.config.principals import LOCAL_AGENT, LOCAL_APPROVER

__all__ = [
    "DEFAULT_LISTEN",
    "LOCAL_AGENT",
    "LOCAL_APPROVER",
    "AgentConfig",
    "ApproverConfig",
    "BadLabel",
    "Config",
    "ConfigErrors",
    "HoldConfig",
    "LimitsConfig",
    "Listen",
    "Pack",
    "Problem",
    "RecordConfig",
    "ServerConfig",
    "Transport",
    "UnknownPeople",
    "acknowledged",
    "acknowledgement",
    "is_layer_file",
    "load_config",
    "load_layer",
    "pack_names",
    "pack_path",
    "read_pack",
    "surroundings",
    "wrap_config",
]
