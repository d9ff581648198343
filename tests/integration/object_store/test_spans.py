"""Each operation of a store is a span of the request that waits for it, in S3 as in a folder."""

import asyncio

import pytest

from tallypost_core.object_store import ObjectNotFound
from tallypost_core.settings.groups import ObjectsSettings, TracingSettings
from tallypost_telemetry import conventions as names
from tallypost_telemetry import tracing
from tallypost_telemetry.object_store_spans import open_traced_store
from tests.support.otlp_sink import otlp_sink

KEY = "tenant/email/0"


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_each_operation_is_a_span_and_a_missing_object_fails_its_own(
    request: pytest.FixtureRequest, kind: str
) -> None:
    settings: ObjectsSettings = await asyncio.to_thread(request.getfixturevalue, f"{kind}_settings")
    store = open_traced_store(settings)
    with (
        otlp_sink() as sink,
        tracing.running(TracingSettings(endpoint=sink.url, sample_ratio=1.0), "api"),
        tracing.begin(None, "request", tracing.Kind.SERVER, {}),
    ):
        await store.put(KEY, b"four")
        assert await store.get(KEY) == b"four"
        await store.delete(KEY)
        with pytest.raises(ObjectNotFound):
            await store.get(KEY)
        await store.close()
    (parent,) = sink.spans("request")
    found = {span.name: span for span in sink.spans() if not span.has_failed}
    assert set(found) == {"request", "put object", "get object", "delete object"}
    for name in ("put object", "get object"):
        assert found[name].attributes[names.OBJECT_SIZE_BYTES] == 4
    children = [span for span in sink.spans() if span.name != "request"]
    assert {span.attributes[names.OBJECT_STORE] for span in children} == {kind}
    assert all(span.is_child_of(parent) for span in children)
    assert [span.name for span in children if span.has_failed] == ["get object"]
    assert KEY not in str([span.attributes for span in children])
