"""The tags as nodes of an asyncua server: written before whoever reads them gets an answer."""

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.server.subscription_service import SubscriptionService

from pipeline.bridge.modbus.layout import Value
from pipeline.bridge.opcua.camera import Trouble
from pipeline.bridge.opcua.tags import FOLDER, NAMESPACE, TAGS, Tag, node_path

LEAST_INTERVAL_MS, MOST_INTERVAL_MS = 5.0, 60_000.0
_STATUS = {
    Trouble.STARTING: ua.StatusCodes.BadWaitingForInitialData,
    Trouble.BRIDGE: ua.StatusCodes.BadDeviceFailure,
    Trouble.REDIS: ua.StatusCodes.BadNoCommunication,
    Trouble.WORKERS: ua.StatusCodes.BadOutOfService,
}
_MOST = {"Byte": 0xFF, "UInt16": 0xFFFF, "UInt32": 0xFFFF_FFFF}


class Cameras(Protocol):
    """What the nodes show; called from the server's thread."""

    def changed(self, cameras: Iterable[str], *, all_of_them: bool) -> "list[Shown]":
        """Return the tags of those cameras that changed, or of all of them."""
        ...

    def sent(self, camera: str, names: set[str]) -> None:
        """Note that a client gets these tags of a camera."""
        ...

    def write(self, camera: str, written: dict[str, int]) -> None:
        """Apply what a client wrote in one request."""
        ...


Shown = tuple[str, Trouble | None, dict[str, Value]]


class LiveNodes:
    """The objects `Live/CAMERA` of a server and their tags."""

    def __init__(self, server: Server, cameras: Cameras) -> None:
        self._server = server
        self._cameras = cameras
        self._tags: dict[ua.NodeId, tuple[str, Tag]] = {}
        self._ids: dict[tuple[str, str], ua.NodeId] = {}
        self._last: dict[ua.NodeId, tuple[Value, Trouble | None]] = {}

    async def add(self, names: Iterable[str]) -> None:
        """Add the nodes; string identifiers, so that they are the same at every start."""
        index = await self._server.register_namespace(NAMESPACE)
        root = await self._server.nodes.objects.add_folder(
            ua.NodeId(FOLDER, index), ua.QualifiedName(FOLDER, index)
        )
        for camera in names:
            parent = await root.add_object(
                ua.NodeId(node_path(camera), index), ua.QualifiedName(camera, index)
            )
            for tag in TAGS:
                await self._add_tag(parent, index, camera, tag)
        subscribe = self._server.subscribe_server_callback
        subscribe(CallbackType.PreRead, self._before_read)
        subscribe(CallbackType.PostRead, self._after_read)
        subscribe(CallbackType.PreWrite, self._before_write)
        subscribe(CallbackType.PostWrite, self._after_write)

    async def _add_tag(self, parent: Any, index: int, camera: str, tag: Tag) -> None:  # noqa: ANN401
        node_id = ua.NodeId(node_path(camera, tag.name), index)
        variant = ua.Variant(tag.zero, ua.VariantType[tag.type])
        node = await parent.add_variable(node_id, ua.QualifiedName(tag.name, index), variant)
        await node.write_attribute(
            ua.AttributeIds.Description,
            ua.DataValue(ua.Variant(ua.LocalizedText(tag.meaning), ua.VariantType.LocalizedText)),
        )
        if tag.writable:
            await node.set_writable()
        self._tags[node_id] = camera, tag
        self._ids[camera, tag.name] = node_id

    async def refresh(self, cameras: Iterable[str] = (), *, all_of_them: bool = False) -> None:
        """Write what changed; never waits, so that no other client sees half of it."""
        names = list(cameras) or list(dict.fromkeys(camera for camera, _ in self._ids))
        for camera, trouble, values in self._cameras.changed(names, all_of_them=all_of_them):
            now = datetime.now(UTC)
            for tag in TAGS:
                if not tag.writable:
                    node_id = self._ids[camera, tag.name]
                    await self._show(node_id, tag, values[tag.name], trouble, now)

    async def _show(
        self, node_id: ua.NodeId, tag: Tag, value: Value, trouble: Trouble | None, now: datetime
    ) -> None:
        if self._last.get(node_id) == (value, trouble):
            return
        self._last[node_id] = value, trouble
        shown = ua.DataValue(
            ua.Variant(value, ua.VariantType[tag.type]),
            ua.StatusCode(_STATUS[trouble] if trouble else ua.StatusCodes.Good),
            SourceTimestamp=now,
            ServerTimestamp=now,
        )
        await self._server.iserver.aspace.write_attribute_value(
            node_id, ua.AttributeIds.Value, shown
        )

    def names(self, node_ids: Iterable[ua.NodeId]) -> dict[str, set[str]]:
        """Return the names of the tags among some nodes, by camera."""
        found: dict[str, set[str]] = {}
        for node_id in node_ids:
            if node_id in self._tags:
                camera, tag = self._tags[node_id]
                found.setdefault(camera, set()).add(tag.name)
        return found

    def sent(self, node_ids: Iterable[ua.NodeId]) -> None:
        """Note that a client gets the values of these nodes."""
        for camera, names in self.names(node_ids).items():
            self._cameras.sent(camera, names)

    def _values_of(self, event: Any) -> list[ua.NodeId]:  # noqa: ANN401
        wanted = event.request_params.NodesToRead
        return [each.NodeId for each in wanted if each.AttributeId == ua.AttributeIds.Value]

    async def _before_read(self, event: Any, _: object) -> None:  # noqa: ANN401
        if event.is_external and (cameras := self.names(self._values_of(event))):
            await self.refresh(cameras, all_of_them=True)

    async def _after_read(self, event: Any, _: object) -> None:  # noqa: ANN401
        if event.is_external:
            self.sent(self._values_of(event))

    async def _before_write(self, event: Any, _: object) -> None:  # noqa: ANN401
        for write in event.request_params.NodesToWrite if event.is_external else ():
            if write.NodeId in self._tags and self._tags[write.NodeId][1].writable:
                _check(self._tags[write.NodeId][1], write)

    async def _after_write(self, event: Any, _: object) -> None:  # noqa: ANN401
        if not event.is_external:
            return
        written: dict[str, dict[str, int]] = {}
        answers = zip(event.request_params.NodesToWrite, event.response_params, strict=True)
        for write, answer in answers:
            if answer.is_good() and write.NodeId in self._tags:
                camera, tag = self._tags[write.NodeId]
                written.setdefault(camera, {})[tag.name] = write.Value.Value.Value
        for camera, values in written.items():
            self._cameras.write(camera, values)


def _check(tag: Tag, write: Any) -> None:  # noqa: ANN401
    """Refuse what is no plain value of a tag's type; asyncua would take a list, or nothing.

    Raises:
        ua.UaStatusCodeError: which the client gets.
    """
    if write.AttributeId != ua.AttributeIds.Value:
        return  # refused by the attribute service
    data = write.Value
    variant = data.Value
    good = data.StatusCode is None or data.StatusCode.is_good()
    plain = variant is not None and type(variant.Value) is int and not variant.is_array
    if not (good and plain and variant.VariantType == ua.VariantType[tag.type]):
        raise ua.uaerrors.BadTypeMismatch
    if not 0 <= variant.Value <= _MOST[tag.type]:
        raise ua.uaerrors.BadOutOfRange


class FreshSubscriptions(SubscriptionService):
    """Subscriptions that publish what holds at that moment, not what held when it changed."""

    nodes: LiveNodes

    async def create_subscription(
        self,
        params: ua.CreateSubscriptionParameters,
        callback: Callable[..., Any],
        session_id: ua.NodeId,
        request_callback: Callable[..., Any] | None = None,
    ) -> ua.CreateSubscriptionResult:
        """Create a subscription whose interval is within limits."""
        wanted = float(params.RequestedPublishingInterval)
        interval = min(max(LEAST_INTERVAL_MS, wanted), MOST_INTERVAL_MS)  # no number: the least
        params = dataclasses.replace(params, RequestedPublishingInterval=interval)
        result = await super().create_subscription(params, callback, session_id, request_callback)
        subscription = self.subscriptions[result.SubscriptionId]
        publish = subscription.publish_results

        async def publish_fresh(request: Any = None) -> bool:  # noqa: ANN401
            await self.nodes.refresh()
            sent: bool = await publish(request)
            if sent and subscription._publishing_enabled:  # noqa: SLF001  # no public one
                self.nodes.sent(_reported(subscription))
            return sent

        subscription.publish_results = publish_fresh
        return result


def _reported(subscription: Any) -> list[ua.NodeId]:  # noqa: ANN401
    items = subscription.monitored_item_srv._monitored_items.values()  # noqa: SLF001
    return [item.read_value_id.NodeId for item in items if item.mode == ua.MonitoringMode.Reporting]
