"""The flags of every command that opens an engine."""

from pydantic import Field

from engines.commandline.flags import File
from engines.commandline.run import CommandSettings
from engines.open import Backend


class EngineSettings(CommandSettings):  # noqa: D101  # a docstring would head its flags in help
    engine: File = Field(description="engine file; its manifest lies beside it")
    backend: Backend = Field(
        default="auto", description="auto is openvino on a CPU, onnxruntime on a GPU"
    )
    device: str = Field(default="auto", description="auto (the CPU), cpu, cuda or cuda:1")
    threads: int = Field(default=0, ge=0, le=1024, description="CPU cores; 0 for all usable ones")
    as_json: bool = Field(default=False, description="print JSON in place of tables")
