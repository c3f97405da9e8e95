"""Model names that no file lists: ``model=torchvision/<name>`` and ``model=onnx/<path>``.

Hydra asks its config sources for ``model/<what was typed>``. This one answers for the two open
families with ``{name: <what was typed>}``, so that they can be swept like any other model.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

FAMILIES = ("torchvision", "onnx")


class ModelSource(ConfigSource):
    """Configs of the open model families."""

    @staticmethod
    def scheme() -> str:
        """Name of the source in Hydra's search path."""
        return "spamodel"

    def load_config(self, config_path: str) -> ConfigResult:
        """Answer ``model/<family>/<name>`` with that name."""
        if not self.is_config(config_path):
            raise ConfigLoadError(f"no model config {config_path!r}")
        name = config_path.removeprefix("model/").removesuffix(".yaml")
        return ConfigResult(
            config=OmegaConf.create({"name": name}),
            path=self.full_path(),
            provider=self.provider,
            header={"package": "model"},
        )

    def available(self) -> bool:
        """Whether the source can be asked: always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether the path is one of the families."""
        return config_path.rstrip("/") in ("model", *(f"model/{name}" for name in FAMILIES))

    def is_config(self, config_path: str) -> bool:
        """Whether the path is a member of one of the families."""
        return any(
            config_path.startswith(f"model/{family}/") and len(config_path) > len(family) + 7
            for family in FAMILIES
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Members are open-ended, so none is listed."""
        return []


class ModelSearchPath(SearchPathPlugin):
    """Puts the source on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source."""
        search_path.append(provider="spa_harness", path="spamodel://")
