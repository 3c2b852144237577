"""The errors of this package, one class for each reaction of the caller.

EngineError
├── ManifestError      the file and its manifest do not fit: refuse to serve it
├── BackendError       this machine cannot run it: refuse, say what to install
│   └── NoDriver           no NVIDIA driver: fine for a machine without a GPU
├── ShapeError         these pixels do not fit this engine: bury the entry
├── ScoringError       the engine failed on these frames: answer UNKNOWN/ENGINE
├── AdmissionError     the engine failed its admission: it must not judge
├── ConfigError        the configuration file is unreadable or unknown: exit with the reason
├── PictureError       this file is not a readable picture: name it, go on without it
├── ZoneError          these zones are unusable: refuse them, keep the current ones
└── RegistryError      this cannot be a registry: exit with the reason
    ├── RegistryAway       it cannot be read or written now: keep serving, retry later
    ├── UnknownVersion     it holds no such version: ask for one that it lists
    ├── BrokenVersion      its bytes are not what was registered: keep serving, register it again
    ├── NotAdmitted        no machine admitted it: run engine-admit, register it again
    └── Overtaken          another version than expected is in force: compare with that one
"""


class EngineError(Exception):
    """Anything that goes wrong in this package."""


class ManifestError(EngineError):
    """The engine file and its manifest do not fit each other or this program: refuse it."""


class BackendError(EngineError):
    """This machine cannot run this engine: refuse it and say what to install."""


class NoDriver(BackendError):  # noqa: N818  # a state of the machine, not a mistake
    """This machine has no NVIDIA driver: fine if no GPU is wanted."""


class ShapeError(EngineError):
    """These pixels do not fit this engine: bury the entry."""


class ScoringError(EngineError):
    """The engine failed while it scored: answer these frames UNKNOWN/ENGINE."""


class AdmissionError(EngineError):
    """The engine failed its admission on this machine: it must not judge."""


class PictureError(EngineError):
    """This file is not a readable picture: name it and go on without it."""


class ZoneError(EngineError):
    """These zones are unusable: refuse them and keep the current ones."""


class RegistryError(EngineError):
    """This cannot be a registry: exit with the reason."""


class RegistryAway(RegistryError):  # noqa: N818  # a state of the world, not a mistake
    """The registry cannot be read or written now: keep serving and retry later."""


class UnknownVersion(RegistryError):  # noqa: N818
    """The registry holds no such version: ask for one that it lists."""


class BrokenVersion(RegistryError):  # noqa: N818
    """A version's bytes are not what was registered: keep serving, register the engine again."""


class NotAdmitted(RegistryError):  # noqa: N818
    """No machine admitted the version: run engine-admit and register the engine again."""


class Overtaken(RegistryError):  # noqa: N818
    """Another version than the caller expected is in force: nothing changed, compare with it."""


class ConfigError(EngineError):
    """The configuration file is unreadable, or holds values of no command: correct it."""
