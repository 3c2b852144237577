"""The flags of `pipeline-bridge`."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from engines.commandline.flags import File, Folder, Metavar, Name
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.modbus.layout import MOST_CAMERAS, WordOrder
from pipeline.bridge.mqtt.topics import check_root
from pipeline.bridge.stop_signal import StopRule
from pipeline.errors import SettingsError
from pipeline.settings import WatchingSettings
from pipeline.streams.keys import check_name

GATES = frozenset({"modbus", "opcua"})
_LISTEN = {"modbus": "127.0.0.1:5020", "opcua": "127.0.0.1:4840"}
MOST_PORT = 65_535


class BridgeSettings(WatchingSettings):
    """Send the verdicts of a line to a PLC or an MES, one process per target."""

    to: Literal["modbus", "mqtt", "opcua", "webhook"] = Field(
        description="what the verdicts are sent to"
    )
    program: Name = Field(
        default="",
        description="the reader's name on the line, one per process; default: bridge-TARGET",
    )
    cameras: Annotated[str, Metavar("NAME,...")] = Field(
        default="",
        description="gates: the cameras, or stations; modbus: in the order of their blocks",
    )
    gate_margin_ms: float = Field(
        default=20.0,
        ge=0,
        description="gates: a verdict is shown until so long before its deadline: what the PLC's "
        "scan and the actuator take",
    )
    stop_after_ng: int | None = Field(
        default=None, ge=1, description="gates: raise the stop signal after so many NG in a row"
    )
    stop_ng_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="gates: raise the stop signal at this share of NG among the last --stop-window"
        " parts",
    )
    stop_window: int = Field(
        default=100, ge=1, le=100_000, description="parts that --stop-ng-rate looks at"
    )
    listen: Annotated[str, Metavar("HOST:PORT")] = Field(
        default="",
        description="gates: where the PLC connects to; default: 127.0.0.1:5020, opcua: :4840",
    )
    allow: Annotated[str, Metavar("CIDR,...")] = Field(
        default="",
        description="modbus: networks that may connect beside this machine, as 10.1.2.0/24",
    )
    word_order: WordOrder = Field(
        default=WordOrder.ABCD,
        description="modbus: of 32-bit values, abcd: high word first, cdab: low word first",
    )
    plc_timeout_ms: float = Field(
        default=1000.0, gt=0, description="gates: the PLC is lost when its heartbeat stands still"
    )
    print_map: bool = Field(
        default=False, description="modbus: print the register map as CSV and end"
    )
    users_file: File | None = Field(
        default=None, description="opcua: file with one name:password a line"
    )
    security_dir: Folder | None = Field(
        default=None,
        description="opcua: folder of the own certificate, trusted/ and rejected/; default: "
        "PROGRAM.opcua in the folder of --state-dir",
    )
    insecure: bool = Field(
        default=False,
        description="opcua: also take connections without encryption; for trying things out",
    )
    url: Annotated[str, Metavar("URL")] = Field(
        default="",
        description="webhook: where the verdicts are posted to, https://...; mqtt: the broker, "
        "mqtts://...",
    )
    secret_file: File | None = Field(
        default=None,
        description="webhook: file whose first line is the signing secret, whsec_...",
    )
    allow_http: bool = Field(
        default=False, description="webhook: post without TLS; the verdicts can be read on the way"
    )
    ca_file: File | None = Field(
        default=None, description="webhook, mqtt: certificates to trust, in place of the machine's"
    )
    client_cert: File | None = Field(
        default=None, description="mqtt: this bridge's certificate, for a broker that asks for one"
    )
    client_key: File | None = Field(
        default=None, description="mqtt: its private key; default: it lies in --client-cert"
    )
    broker_user: str = Field(default="", description="mqtt: user name at the broker")
    broker_password_file: File | None = Field(
        default=None, description="mqtt: file whose first line is the password at the broker"
    )
    allow_plain_mqtt: bool = Field(
        default=False,
        description="mqtt: reach another machine without TLS; verdicts and password can be read on "
        "the way",
    )
    topic_root: str = Field(
        default="prn", description="mqtt: what the topics begin with, one level or more"
    )
    parked_file: File | None = Field(
        default=None,
        description="webhook: where refused reports are kept; default: PROGRAM.parked.jsonl in the "
        "folder of --state-dir",
    )
    parked_most: int = Field(
        default=10_000,
        ge=1,
        description="webhook: reports in that file; when it is full, sending waits",
    )
    from_start: bool = Field(
        default=False,
        description="webhook, mqtt: a program new to the line begins with the oldest verdict kept",
    )
    host: str = Field(default="127.0.0.1", description="where health and metrics are served")
    port: int = Field(
        default=0, ge=0, le=MOST_PORT, description="port of health and metrics; 0: a free one"
    )

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.to in GATES and not self.camera_names():
            raise ValueError("--cameras is needed: a gate shows each of them in a place of its own")
        if self.to == "opcua" and not self.users_file:
            raise ValueError("--users-file is needed: one name:password a line")
        if self.to == "webhook" and not (self.url and self.secret_file):
            raise ValueError("--url and --secret-file are needed")
        if self.to == "mqtt" and not self.url:
            raise ValueError("--url is needed: mqtts://HOST")
        if self.to in GATES and self.from_start:
            raise ValueError("--from-start is of records only: a gate never gets a backlog")
        try:
            names = [check_name(name) for name in self.camera_names()]
        except SettingsError as error:
            raise ValueError(str(error)) from error
        if len(set(names)) != len(names) or len(names) > MOST_CAMERAS:
            raise ValueError(f"--cameras: each once, at most {MOST_CAMERAS}")
        return self

    @field_validator("program")
    @classmethod
    def _check_program(cls, program: str) -> str:
        try:
            return check_name(program) if program else ""
        except SettingsError as error:
            raise ValueError(str(error)) from error

    @field_validator("topic_root")
    @classmethod
    def _check_topic_root(cls, topic_root: str) -> str:
        return check_root(topic_root)

    @field_validator("listen")
    @classmethod
    def _check_listen(cls, listen: str) -> str:
        if listen:
            host_and_port(listen)
        return listen

    @field_validator("allow")
    @classmethod
    def _check_allow(cls, allow: str) -> str:
        _networks(allow)
        return allow

    def reader(self) -> str:
        """Return the name under which this bridge reads the line."""
        return self.program or f"bridge-{self.to}"

    def camera_names(self) -> list[str]:
        """Return the cameras in the order of their blocks."""
        return [name.strip() for name in self.cameras.split(",") if name.strip()]

    def address(self) -> tuple[str, int]:
        """Return where to listen."""
        return host_and_port(self.listen or _LISTEN[self.to])

    def networks(self) -> list[IPv4Network | IPv6Network]:
        """Return the networks that may connect."""
        return _networks(self.allow)

    def users_path(self) -> Path:
        """Return the file with the users.

        Raises:
            SettingsError: none was given.
        """
        if self.users_file is None:
            raise SettingsError("--users-file is needed")
        return self.users_file

    def security_path(self) -> Path:
        """Return the folder of certificates."""
        return self.security_dir or self.state_dir / f"{self.reader()}.opcua"

    def secret_path(self) -> Path:
        """Return the file with the signing secret.

        Raises:
            SettingsError: none was given.
        """
        if self.secret_file is None:
            raise SettingsError("--secret-file is needed")
        return self.secret_file

    def parked_path(self) -> Path:
        """Return where refused reports are kept."""
        return self.parked_file or self.state_dir / f"{self.reader()}.parked.jsonl"

    def freshness(self) -> Freshness:
        """Return what decides whether a verdict is live; records have no margin."""
        return Freshness(self.gate_margin_ms if self.to in GATES else 0.0)

    def stop_rule(self) -> StopRule:
        """Return what raises the stop signal."""
        return StopRule(self.stop_after_ng, self.stop_ng_rate, self.stop_window)


def host_and_port(listen: str) -> tuple[str, int]:
    """Return the two parts of HOST:PORT.

    Raises:
        ValueError: it is none.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > MOST_PORT:
        raise ValueError(f"{listen!r:.80} is no HOST:PORT, as 127.0.0.1:5020 or [::1]:5020")
    return host.strip("[]"), int(port)


def _networks(allow: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(network.strip()) for network in allow.split(",") if network.strip()]
