"""What `pipeline-worker` can be told."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from engines.commandline.flags import File, Folder, Metavar
from engines.open import Backend
from pipeline.settings import WatchingSettings
from pipeline.worker.active_engine import VERDICTS_KEPT, LoadedEngine
from pipeline.worker.swap.interfaces import RolloutSettings
from pipeline.worker.swap.loading import EngineOptions
from pipeline.worker.worker import WorkerOptions

if TYPE_CHECKING:  # a line without zones loads none of it
    from pipeline.worker.zones import ZonesInForce

FOLDER_LOOK_S = 0.2  # a rollback without a message is heeded in less than a second
URL_LOOK_S = 10.0  # each look is a request that somebody pays for


class WorkerSettings(WatchingSettings):
    """Judge the frames of a line with an engine; run one per GPU, or one per group of cores."""

    engine: File | None = Field(
        default=None,
        description="engine file, its manifest beside it: prn.onnx, prn.plan; or give --registry",
    )
    registry: Annotated[str, Metavar("URL")] = Field(
        default="",
        description="serve what this registry promotes, a folder or a URL, and swap without a stop "
        "when that changes (see engine-registry)",
    )
    registry_look_s: float | None = Field(
        default=None,
        gt=0,
        description="seconds between two looks at it, beside pipeline-control --look; "
        "default: 0.2 for a folder, 10 for a URL",
    )
    engine_cache: Folder | None = Field(
        default=None, description="where its engines are copied to; default: STATE_DIR/engines"
    )
    shadow_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="share of live frames that a newcomer scores too, beside every NG, 0..1",
    )
    shadow_frames: int = Field(
        default=50, ge=0, description="frames of that share that it scores before it judges"
    )
    shadow_s: float = Field(
        default=60.0, ge=0, description="it judges after so many seconds, however many it scored"
    )
    watch_frames: int = Field(
        default=VERDICTS_KEPT,
        ge=1,
        le=VERDICTS_KEPT,
        description="verdicts of a newcomer that are compared with the last ones before it; "
        "outside the band the old engine comes back",
    )
    watch_s: float = Field(
        default=600.0, ge=0, description="it stays after so many seconds, however many it gave"
    )
    watch_slower: float = Field(
        default=1.5, ge=1, description="it may take so many times the time of the one before it"
    )
    backend: Backend = Field(
        default="auto",
        description="what runs the engine; auto: OpenVINO on a CPU, for a plan what built it",
    )
    device: str = Field(
        default="auto", description="auto (the CPU, for a plan the first GPU), cpu, cuda or cuda:N"
    )
    skip_admission: bool = Field(
        default=False,
        description="serve an engine that engine-admit has not proved, or has refused",
    )
    allow_fixed_engine: bool = Field(
        default=False,
        description="with --engine: serve a .fixed file, whose verdicts say nothing of the parts; "
        "for tests and drills only",
    )
    threads: int = Field(default=0, ge=0, description="CPU cores for the engine; 0: all")
    threshold: float | None = Field(
        default=None,
        description="with --engine: raw score above which a part is NG; default: the manifest's",
    )
    pixel_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="with --engine: map value above which a pixel is mask",
    )
    zones: File | None = Field(
        default=None,
        description="zones.json: what to inspect, what to ignore; watched, and taken between two "
        "batches when it changes. default: what the engine was trained with",
    )
    zones_product: Annotated[str, Metavar("NAME")] = Field(
        default="", max_length=64, description="with --zones: the product whose zones count"
    )
    max_batch: int = Field(
        default=0, ge=0, description="most frames scored together; 0: what the cost curve says"
    )
    batch_wait_ms: float = Field(
        default=0.0, ge=0, description="how long a frame waits for company, engine free, ms"
    )
    max_deliveries: int = Field(
        default=3, ge=1, description="workers a frame may outlive before it is given up"
    )
    results_kept: int = Field(default=100_000, ge=1, description="verdicts kept, about")
    results_mb: float = Field(
        default=256.0, gt=0, description="memory that the verdicts kept may take, about, MB"
    )
    archive: Folder | None = Field(
        default=None,
        description="keep frames here for labels that come later: NG, UNKNOWN, near the "
        "threshold, and a few others; the line's workers may share it. default: none is kept",
    )
    archive_mb: float = Field(
        default=10_240.0, gt=0, description="what the line's archive may take, MB"
    )
    archive_days: float = Field(
        default=14.0, gt=0, description="days after which archived frames go, labelled ones aside"
    )
    archive_share: float = Field(
        default=0.02, ge=0, le=1, description="share of the OK frames that is kept by chance"
    )
    archive_near: float = Field(
        default=0.05,
        ge=0,
        le=0.5,
        description="keep OK frames whose normalised score is so near to 0.5, the threshold",
    )
    drain_s: float = Field(default=10.0, ge=0, description="seconds to finish after SIGTERM")
    host: str = Field(default="127.0.0.1", description="where health and metrics are served")
    port: int = Field(
        default=0, ge=0, le=65535, description="port of health and metrics; 0: a free one"
    )

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine is None and not self.registry:
            raise ValueError("--engine is needed, or --registry")
        if self.engine is not None and self.registry:
            raise ValueError("--engine and --registry both say which engine: give one")
        if self.zones_product and self.zones is None:
            raise ValueError("--zones-product chooses among the zones of --zones: give both")
        if self.registry and self.allow_fixed_engine:
            raise ValueError(
                "--allow-fixed-engine goes with --engine: a registry never brings a fixed engine"
            )
        by_hand = self.threshold is not None or self.pixel_threshold is not None
        if self.registry and by_hand:
            raise ValueError(
                "--threshold and --pixel-threshold are of one engine and --registry brings others: "
                "set them with pipeline-control, where they lapse with the engine"
            )
        return self

    def engine_options(self) -> EngineOptions:
        """How engines run."""
        return EngineOptions(
            self.backend,
            self.device,
            self.threads,
            self.max_batch,
            self.skip_admission,
            self.allow_fixed_engine,
            needs_peak=self.zones is not None and self.threshold is None,
        )

    def serves_fixed_engine(self) -> bool:
        """Return whether a person asked for a fixed engine."""
        return self.engine is not None and self.engine.suffix == ".fixed"

    def worker_options(self, engine: LoadedEngine) -> WorkerOptions:
        """How the worker works, beginning with this engine.

        Raises:
            ZoneError: the zones file cannot be judged by.
        """
        return WorkerOptions(
            self.batch_wait_ms,
            self.max_deliveries,
            self.threshold,
            self.pixel_threshold,
            self._zones_in_force(engine),
        )

    def _zones_in_force(self, engine: LoadedEngine) -> "ZonesInForce | None":
        if self.zones is None:
            return None
        from pipeline.worker.zones import ZonesInForce  # noqa: PLC0415  # only with --zones

        return ZonesInForce(self.zones, self.zones_product, engine)

    def cache(self) -> Path:
        """Where engines of the registry are copied to."""
        return self.engine_cache or self.state_dir / "engines"

    def rollout_settings(self) -> RolloutSettings:
        """How a candidate comes in."""
        usual_s = URL_LOOK_S if "://" in self.registry else FOLDER_LOOK_S
        return RolloutSettings(
            self.registry_look_s or usual_s,
            self.shadow_share,
            self.shadow_frames,
            self.shadow_s,
            self.watch_frames,
            self.watch_s,
            self.watch_slower,
        )
