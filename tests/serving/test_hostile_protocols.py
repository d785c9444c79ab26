"""Requests that break Triton's own readers, before any model sees them.

HTTP is closed for all that Triton reads JSON for: a request of a hundred bytes ends the server
while it is read. gRPC takes the same without harm.
"""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import tritonclient.grpc
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.process import KEY_HEADER, RunningServer

Served = tuple[Workspace, RunningServer]
_BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_HUGE = {"name": "TEXT", "datatype": "INT64", "shape": [10**12], "data": []}
_DEEP = b"[" * 3_000_000
_INFER = "/v2/models/search/infer"


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[SearchClient]:
    with SearchClient(served[1].grpc_url, timeout_s=30) as client:
        yield client


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(served[1].grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def known(client: SearchClient) -> tuple[str, ...]:
    return _products(client)


@pytest.fixture(autouse=True)
def _still_answers(client: SearchClient, known: tuple[str, ...]) -> Iterator[None]:
    yield
    assert _products(client) == known


def _products(client: SearchClient) -> tuple[str, ...]:
    return tuple(hit.product_id for hit in client.search("white lamp", 5).hits)


@pytest.mark.parametrize("body", [json.dumps({"inputs": [_HUGE]}).encode(), _DEEP])
@pytest.mark.parametrize(
    "path",
    [
        _INFER,
        "/v2/models/query_encoder/infer",
        "/v2/repository/index",
        "/v2/repository/models/search/load",
        "/v2/repository/models/search/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/trace/setting",
        "/v2/logging",
    ],
)
def test_json_that_would_end_the_server_is_not_read(path: str, body: bytes, served: Served) -> None:
    status, answer = _asked(served[1], "POST", path, body)

    assert status == 403
    assert KEY_HEADER in json.loads(answer)["error"]


@_BOUNDED
@given(
    body=st.binary(max_size=300),
    headers=st.dictionaries(
        st.sampled_from(["Inference-Header-Content-Length", KEY_HEADER, "Content-Encoding"]),
        st.integers(-5, 10**10).map(str) | st.sampled_from(["gzip", "deflate", ""]),
    ),
)
def test_any_bytes_over_http_are_refused_with_a_reason(
    body: bytes, headers: dict[str, str], served: Served, client: SearchClient, known: Any
) -> None:
    status, answer = _asked(served[1], "POST", _INFER, body, headers)

    assert status == 403
    assert KEY_HEADER in json.loads(answer)["error"]
    assert _products(client) == known


def test_health_and_metadata_are_told_over_http(served: Served) -> None:
    assert _asked(served[1], "GET", "/v2/health/ready")[0] == 200
    assert _asked(served[1], "GET", "/v2/models/search/ready")[0] == 200
    assert json.loads(_asked(served[1], "GET", "/v2/models/search")[1])["name"] == "search"


def test_client_over_closed_http_is_told_what_to_do(served: Served) -> None:
    with (
        SearchClient(served[1].http_url, protocol="http") as client,
        pytest.raises(ServingError, match=r"HTTP is closed there: ask by gRPC, or .*--open-http"),
    ):
        client.search("lamp")


@pytest.mark.parametrize("kind", ["served", "served_openly"])
def test_memory_traces_and_logs_of_the_server_are_nobodys(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server: RunningServer = request.getfixturevalue(kind)[1]
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
    for call in (
        lambda: client.register_system_shared_memory("x", "/mmr_x", 64),
        lambda: client.get_system_shared_memory_status(),
        lambda: client.update_trace_settings(settings={"trace_file": "/tmp/x"}),
        lambda: client.update_log_settings({"log_verbose_level": 9}),
    ):
        with pytest.raises(InferenceServerException, match="restricted"):
            call()
    client.close()
    for path in ("/v2/systemsharedmemory/status", "/v2/logging", "/v2/trace/setting"):
        assert _asked(server, "GET", path)[0] == 403


def test_key_reaches_neither_the_servers_log_nor_a_message(served: Served) -> None:
    key = served[1].key
    assert len(key) == 32
    assert key not in (served[0].serving / "triton.log").read_text(errors="replace")
    assert key not in repr(served[1])
    assert key not in _asked(served[1], "POST", _INFER)[1].decode()


_NUMBERS = st.integers(-(2**63), 2**63 - 1)


@st.composite
def _tensors(draw: st.DrawFn) -> service_pb2.ModelInferRequest.InferInputTensor:
    tensor = service_pb2.ModelInferRequest.InferInputTensor()
    tensor.name = draw(st.sampled_from(["TEXT", "K", "NOTHING", ""]))
    tensor.datatype = draw(st.sampled_from(["BYTES", "INT32", "INT64", "FP32", "BOOL", "?"]))
    tensor.shape.extend(draw(st.lists(st.integers(-3, 70) | _NUMBERS, max_size=4)))
    contents = tensor.contents
    contents.bytes_contents.extend(draw(st.lists(st.binary(max_size=10), max_size=5)))
    contents.int64_contents.extend(draw(st.lists(_NUMBERS, max_size=3)))
    contents.int_contents.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3)))
    return tensor


def _huge(datatype: str, shape: list[int]) -> service_pb2.ModelInferRequest.InferInputTensor:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="TEXT", datatype=datatype)
    tensor.shape.extend(shape)
    tensor.contents.bytes_contents.append(b"lamp")
    return tensor


@_BOUNDED
@given(
    tensors=st.lists(_tensors(), max_size=3),
    raw=st.lists(st.binary(max_size=40), max_size=3),
    model=st.sampled_from(["search", "query_encoder", "", "../search"]),
)
@example(tensors=[_huge("INT64", [10**12])], raw=[], model="search")
@example(tensors=[_huge("BYTES", [10**12, 1])], raw=[], model="search")
@example(tensors=[_huge("BYTES", [2**62, 8])], raw=[b"\xff\xff\xff\xff"], model="search")
def test_any_request_over_grpc_gets_an_answer_or_a_reason(
    tensors: list[Any],
    raw: list[bytes],
    model: str,
    stub: service_pb2_grpc.GRPCInferenceServiceStub,
    client: SearchClient,
    known: Any,
) -> None:
    asked = service_pb2.ModelInferRequest(model_name=model, inputs=tensors, raw_input_contents=raw)
    call = stub.ModelInfer.future(asked, timeout=30)
    assert call.code() is not grpc.StatusCode.UNAVAILABLE
    assert call.code() is grpc.StatusCode.OK or call.details()
    assert _products(client) == known


def _asked(
    server: RunningServer,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.http_url, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
