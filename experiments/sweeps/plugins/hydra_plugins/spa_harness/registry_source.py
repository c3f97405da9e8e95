"""Every registered name is a choice, without a file: ``criterion=l1``, ``model=onnx/<path>``.

Hydra asks its config sources for ``<group>/<what was typed>``, the folder conf/ first. This one
answers with the name and the defaults of the settings that belong to it.
"""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf


class RegistrySource(ConfigSource):
    """Configs of what is registered (`experiments.sweeps.choices`)."""

    @staticmethod
    def scheme() -> str:
        """Name of the source in Hydra's search path."""
        return "registries"

    def load_config(self, config_path: str) -> ConfigResult:
        """Answer ``<group>/<name>`` with that name and its defaults."""
        from experiments.sweeps import choices  # late: Hydra loads every plugin for every command

        if not self.is_config(config_path):
            raise ConfigLoadError(f"nothing is registered as {config_path!r}")
        group, name = _parts(config_path)
        return ConfigResult(
            config=OmegaConf.create(choices.config(group, name)),
            path=self.full_path(),
            provider=self.provider,
            header={"package": group},
        )

    def available(self) -> bool:
        """Whether the source can be asked: always."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether the path is a group, or the part of an open family's before its last slash."""
        from experiments.sweeps import choices

        group, name = _parts(config_path.rstrip("/"))
        if not name:
            return not group or group in choices.NAMES
        return group == "model" and f"{name}/" in choices.OPEN

    def is_config(self, config_path: str) -> bool:
        """Whether something is registered under the name."""
        from experiments.sweeps import choices

        group, name = _parts(config_path)
        return bool(name) and choices.known(group, name)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """List the groups, or the names in one; members of open families are not listed."""
        from experiments.sweeps import choices

        group, name = _parts(config_path.rstrip("/"))
        if not group:
            return [] if results_filter == ObjectType.CONFIG else sorted(choices.NAMES)
        if results_filter == ObjectType.GROUP or name:
            return []
        return list(choices.names(group))


def _parts(config_path: str) -> tuple[str, str]:
    """The group and the rest; Hydra says ``model/resnet8`` and ``model/resnet8.yaml`` alike."""
    group, _, name = config_path.removesuffix(".yaml").partition("/")
    return group, name


class RegistrySearchPath(SearchPathPlugin):
    """Puts the source on Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source."""
        search_path.append(provider="spa_harness", path="registries://")
