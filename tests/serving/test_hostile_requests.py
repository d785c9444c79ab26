"""A real Triton under hostile input: an error that names the field, or a right answer; never down.

One server for the whole module. After every example it must still answer a known query as before.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmr.errors import ServingError
from mmr.workspace import Workspace
from serving.client import SearchClient
from serving.models.requests import MAX_K, MAX_TEXT_BYTES
from serving.process import RunningServer
from serving.transport import Transport, connect

Served = tuple[Workspace, RunningServer]
_PRODUCTS = 64
_BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_NASTY = [
    "",
    " \t\n",
    "\x00",
    "\x1b[2J\x07",
    "x" * 1_000_000,
    "🛋️" * 300,
    "\u202eخزانة\u202c بيضاء",
    "'; DROP TABLE products; --",
    "<script>alert(document.cookie)</script>",
    "${jndi:ldap://127.0.0.1/a}",
    "../../../etc/passwd",
    "%s%n%x",
    "[CLS] [SEP] [PAD]",
    "\ufeffwhite lamp",
    "a\u0301" * 500,
]


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[SearchClient]:
    with SearchClient(served[1].grpc_url, timeout_s=30) as client:
        yield client


@pytest.fixture(scope="module")
def transport(served: Served) -> Iterator[Transport]:
    transport = connect(served[1].grpc_url, protocol="grpc", timeout_s=30)
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def known(client: SearchClient) -> tuple[Any, ...]:
    return tuple(hit.product_id for hit in client.search("white lamp", 5).hits)


@pytest.fixture(autouse=True)
def _still_answers(client: SearchClient, known: tuple[Any, ...]) -> Iterator[None]:
    yield
    assert_alive(client, known)


def assert_alive(client: SearchClient, known: tuple[Any, ...]) -> None:
    assert tuple(hit.product_id for hit in client.search("white lamp", 5).hits) == known


@_BOUNDED
@given(
    text=st.one_of(st.sampled_from(_NASTY), st.text(max_size=300), st.binary(max_size=300)),
    k=st.one_of(
        st.sampled_from([0, -1, 1, MAX_K, MAX_K + 1, 10**9, 2**31 - 1, -(2**31), 2**40]),
        st.integers(1, 100),
    ),
)
@example(text=b"\xff\xfe", k=10)
@example(text="white lamp", k=10**9)
def test_any_text_with_any_k_is_answered_or_refused_by_name(
    text: str | bytes, k: int, client: SearchClient, known: tuple[Any, ...]
) -> None:
    if isinstance(text, str) and not _is_text(text):
        return  # lone surrogates are no text: the client cannot send them
    answer, refusal = asked(lambda: client.search(text, k))
    if refusable(text, k):
        assert "TEXT row 0" in refusal or "K is " in refusal
    else:
        assert answer is not None, refusal
        assert len(answer.hits) == min(k, _PRODUCTS)
        assert all(np.isfinite(hit.score) for hit in answer.hits)
    assert_alive(client, known)


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def asked(call: Callable[[], Any]) -> tuple[Any, str]:
    """The answer and no message, or no answer and the message of the refusal."""
    try:
        return call(), ""
    except ServingError as error:
        return None, str(error)


def refusable(text: str | bytes, k: int) -> bool:
    raw = text.encode() if isinstance(text, str) else text
    try:
        plain = raw.decode()
    except UnicodeDecodeError:
        return True
    return not plain.strip() or len(raw) > MAX_TEXT_BYTES or not 1 <= k <= MAX_K


@_BOUNDED
@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=4),
    kind=st.sampled_from(["O", "i", "f"]),
    name=st.sampled_from(["TEXT", "K"]),
    model=st.sampled_from(["search", "query_encoder"]),
)
def test_tensor_of_any_shape_and_type_is_answered_or_refused(
    shape: list[int],
    kind: str,
    name: str,
    model: str,
    transport: Transport,
    client: SearchClient,
    known: tuple[Any, ...],
) -> None:
    filler: dict[str, Any] = {"O": b"lamp", "i": 3, "f": 3.0}
    types: dict[str, Any] = {"O": np.object_, "i": np.int32, "f": np.float32}
    inputs = {"TEXT": np.array([[b"white lamp"]], dtype=np.object_)}
    inputs[name] = np.full(shape, filler[kind], dtype=types[kind])
    rows = inputs["TEXT"].shape[0] if inputs["TEXT"].ndim else 0
    found, refusal = asked(lambda: transport.infer(model, inputs, ("RELEASE_ID",)))
    if found is None:
        assert name in refusal or "batch-size" in refusal or model in refusal
    else:
        assert found["RELEASE_ID"].shape == (rows, 1)
    assert_alive(client, known)


@_BOUNDED
@given(
    parameters=st.dictionaries(
        st.sampled_from(["release", "key", "fixed", "probe", "priority", "other"]),
        st.text(max_size=400) | st.booleans() | st.integers(-(2**63), 2**63 - 1),
        max_size=4,
    )
)
def test_any_parameters_are_obeyed_left_alone_or_refused_by_name(
    parameters: dict[str, Any],
    transport: Transport,
    release_a: Path,
    client: SearchClient,
    known: tuple[Any, ...],
) -> None:
    text = np.array([[b"white lamp"]], dtype=np.object_)
    found, refusal = asked(
        lambda: transport.infer("search", {"TEXT": text}, ("RELEASE_ID",), parameters=parameters)
    )
    if found is None:
        assert "Parameter " in refusal or "priority" in refusal, refusal
    else:
        assert found["RELEASE_ID"].tolist() == [[release_a.name.encode()]]
        assert parameters.get("release", release_a.name) == release_a.name
    assert_alive(client, known)


def test_more_rows_than_a_batch_holds_are_refused(
    transport: Transport, client: SearchClient
) -> None:
    text = np.full((65, 1), b"lamp", dtype=np.object_)
    with pytest.raises(ServingError, match="batch-size must be <= 64"):
        transport.infer("search", {"TEXT": text}, ("RELEASE_ID",))


def test_what_customers_type_never_reaches_the_servers_log(
    served: Served, client: SearchClient
) -> None:
    secret = "correct horse battery staple"
    client.search(secret)
    for k in (0, 10**9):
        with pytest.raises(ServingError):
            client.search(secret, k)
    with pytest.raises(ServingError):
        client.search(secret.encode() + b"\xff")

    assert secret not in (served[0].serving / "triton.log").read_text(errors="replace")


def test_no_variable_of_the_callers_environment_reaches_the_server(served: Served) -> None:
    """The list of what is handed on is short; a key in the environment is not on it."""
    names = {
        entry.split(b"=")[0].decode()
        for entry in Path(f"/proc/{served[1].pid}/environ").read_bytes().split(b"\0")
        if entry
    }
    assert names <= {
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "CUDA_VISIBLE_DEVICES",
        "PATH",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONDONTWRITEBYTECODE",
        "OMP_WAIT_POLICY",
        "MMR_SERVING_HOME",
    }


def test_server_listens_on_loopback_alone(served: Served) -> None:
    ports = {served[1].http_port, served[1].grpc_port, served[1].metrics_port}
    listening = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, port = fields[1].rsplit(":", 1)
            if fields[3] == "0A" and int(port, 16) in ports:
                listening.add(address)
    # 127.0.0.1 as the kernel writes it, by itself and inside IPv6
    assert listening <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert listening
