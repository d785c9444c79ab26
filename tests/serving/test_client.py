"""The client and what a stranger may send: real Triton, both protocols."""

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmr.errors import ServingError
from mmr.release.query_encoder import OnnxQueryEncoder
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.process import RunningServer

Served = tuple[Workspace, RunningServer]


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest) -> Iterator[SearchClient]:
    grpc = request.param == "grpc"
    server: RunningServer = request.getfixturevalue("served" if grpc else "served_openly")[1]
    url = server.grpc_url if grpc else server.http_url
    with SearchClient(url, protocol=request.param) as client:
        yield client


def test_exact_title_comes_first_with_its_release(client: SearchClient, release_a: Path) -> None:
    answer = client.search("white wardrobe", k=3)

    assert answer.release_id == release_a.name
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    assert (answer.hits[0].product_id, answer.hits[0].title) == ("1-0", "White Wardrobe")
    assert answer.hits[0].score == pytest.approx(1, abs=1e-5)


def test_embedding_equals_the_one_made_without_triton(
    client: SearchClient, release_a: Path
) -> None:
    texts = ["white wardrobe", "black desk lamp", "unheard word"]

    served = client.embed(texts)

    expected = OnnxQueryEncoder(release_a / "query_encoder").encode(texts)
    np.testing.assert_allclose(served.vectors, expected, atol=1e-6)
    assert served.release_id == release_a.name


def test_many_queries_are_answered_in_their_order(client: SearchClient) -> None:
    texts = ["white wardrobe", "red sofa", "oak desk"] * 50  # more than one batch

    answers = client.search_many(texts, k=1)

    titles = [answer.hits[0].title.lower() for answer in answers]
    assert titles == texts
    assert client.search_many([]) == []


def test_more_products_than_there_are_returns_all(client: SearchClient) -> None:
    assert len(client.search("lamp", k=1000).hits) == 64


@pytest.mark.parametrize("k", [0, -1, 1001, 10**9, 2**40])
def test_k_outside_its_limits_is_refused_by_name(client: SearchClient, k: int) -> None:
    with pytest.raises(ServingError, match=rf"K is {k}"):
        client.search("lamp", k=k)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "TEXT row 0 is empty"),
        (" \n", "TEXT row 0 is empty"),
        (b"\xff\xfe", "TEXT row 0 is not UTF-8"),
        ("x" * 1_000_000, "TEXT row 0 has 1000000 bytes"),
    ],
)
def test_text_that_is_no_query_is_refused_by_name(
    client: SearchClient, text: str | bytes, message: str
) -> None:
    with pytest.raises(ServingError, match=message):
        client.search(text)


@given(text=st.text(min_size=1, max_size=200), k=st.integers(1, 64))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_is_answered_or_refused_by_name(served: Served, text: str, k: int) -> None:
    with SearchClient(served[1].grpc_url) as client:
        raw = text.encode("utf-8", "surrogatepass")
        if text.strip() and raw.decode("utf-8", "ignore") == text:
            assert len(client.search(raw, k).hits) == k
        else:
            with pytest.raises(ServingError, match="TEXT row 0 is"):
                client.search(raw, k)


def test_bad_request_does_not_spoil_the_others_of_its_batch(served: Served) -> None:
    """Sent at once, so that Triton batches them."""
    client = tritonclient.grpc.InferenceServerClient(served[1].grpc_url)
    outcomes: dict[int, str] = {}
    all_done = threading.Event()

    def arrived(number: int, result: Any, error: Exception | None) -> None:
        outcomes[number] = str(error) if error else result.as_numpy("TITLES")[0, 0].decode()
        if len(outcomes) == 60:
            all_done.set()

    for number in range(60):
        text = tritonclient.grpc.InferInput("TEXT", [1, 1], "BYTES")
        text.set_data_from_numpy(np.array([[b"" if number % 3 else b"red sofa"]], dtype=object))
        client.async_infer("search", [text], partial(arrived, number))

    assert all_done.wait(timeout=20)
    good = {outcome for number, outcome in outcomes.items() if not number % 3}
    bad = [outcome for number, outcome in outcomes.items() if number % 3]
    assert good == {"Red Sofa"}
    assert all("TEXT row 0 is empty" in outcome for outcome in bad)
    client.close()


@pytest.mark.parametrize(
    ("name", "data_type", "shape", "raw"),
    [
        ("TEXT", "BYTES", [1, 1], struct.pack("<I", 1000) + b"abc"),
        ("TEXT", "BYTES", [1, 1], b"\x01"),
        ("TEXT", "BYTES", [1], struct.pack("<I", 1) + b"a"),
        ("TEXT", "BYTES", [1, 2], (struct.pack("<I", 1) + b"a") * 2),
        ("TEXT", "FP32", [1, 1], b"\0\0\0\0"),
        ("K", "INT32", [1, 1], b"\x01\0\0\0"),
    ],
)
def test_malformed_tensor_is_refused_by_name_and_the_server_lives(
    served_openly: Served, name: str, data_type: str, shape: list[int], raw: bytes
) -> None:
    tensor = {
        "name": name,
        "datatype": data_type,
        "shape": shape,
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    connection = http.client.HTTPConnection(served_openly[1].http_url, timeout=10)
    connection.request(
        "POST",
        "/v2/models/search/infer",
        head + raw,
        {"Inference-Header-Content-Length": str(len(head))},
    )
    answer = connection.getresponse()

    assert 400 <= answer.status < 500
    assert "TEXT" in json.loads(answer.read())["error"]
    connection.close()
    with SearchClient(served_openly[1].grpc_url) as client:
        assert client.search("red sofa", 1).hits[0].title == "Red Sofa"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_absent_server_is_named_with_the_cure(protocol: str) -> None:
    with (
        SearchClient("127.0.0.1:9", protocol=protocol) as client,
        pytest.raises(ServingError, match=r"127\.0\.0\.1:9, model search.*mmr serve"),
    ):
        client.search("lamp")


def test_version_that_is_not_loaded_is_named_with_the_cure(served: Served) -> None:
    with (
        SearchClient(served[1].grpc_url, version=77) as client,
        pytest.raises(ServingError, match=r"version 77.*mmr deploy"),
    ):
        client.search("lamp")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_silent_server_times_out_in_time(protocol: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with (
            SearchClient(url, protocol=protocol, timeout_s=0.3) as client,
            pytest.raises(ServingError, match=rf"{url}.*took too long"),
        ):
            client.search("lamp")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "localhost"])
def test_address_with_scheme_or_without_port_is_refused(url: str) -> None:
    with pytest.raises(ServingError, match="host:port"):
        SearchClient(url)


def test_metrics_count_the_searches(served: Served) -> None:
    def count() -> float:
        connection = http.client.HTTPConnection("127.0.0.1", served[1].metrics_port, timeout=5)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        prefix = 'nv_inference_request_success{model="search"'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(prefix))

    before = count()
    with SearchClient(served[1].grpc_url) as client:
        client.search("red sofa")

    deadline = time.monotonic() + 5  # Triton counts a request after it has answered it
    while count() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count() == before + 1
