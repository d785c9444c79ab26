"""What the live `search` needs of Triton for canary and shadow: a way to the candidate, and back.

The candidate is a model of its own (`search_trial`) with encoder and index of its release in one
process; it is asked for whole answers inside Triton, without the network.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # exists inside Triton's Python process only
from numpy.typing import NDArray

from serving.live.candidate import CandidateError
from serving.live.places import HOME_VARIABLE
from serving.live.settings import Trial
from serving.live.traffic import LiveTraffic, Traffic
from serving.live.warmth import WarmthKeeper
from serving.model_config import SEARCH, TRIAL_SUFFIX
from serving.models.engine import Answer, Question, SearchEngine
from serving.models.tensors import response

_OUTPUTS = ("PRODUCT_IDS", "SCORES", "TITLES", "RELEASE_ID")
Outputs = Callable[[Answer, str], Mapping[str, NDArray[Any]]]


def live_traffic(home: Path, engine: SearchEngine) -> Traffic:
    """Query log, shadow and canary of the live model."""
    return LiveTraffic(
        home,
        release_id=engine.release_id,
        answer=lambda question: engine.answer([question])[0],
        ask=ask_candidate,
        placer=engine.placer,
        warn=pb_utils.Logger.log_warn,
    )


def keep_warmth(home: Path, version: int) -> WarmthKeeper:
    """Unloads older versions when their time is over."""
    return WarmthKeeper(home, version=version, warn=pb_utils.Logger.log_warn)


def serving_home() -> Path | None:
    """The workspace's `serving` directory, where the launcher has named it."""
    home = os.environ.get(HOME_VARIABLE)
    return Path(home) if home else None


class Sender:
    """The way back to the sender of a request that is answered after `execute` has returned.

    Args:
        request: Triton's request; it is not touched later.
        outputs: Makes tensors of an answer and the id of its release.
    """

    def __init__(self, request: Any, outputs: Outputs) -> None:
        self._wanted = set(request.requested_output_names())
        self._sender = request.get_response_sender()
        self._outputs = outputs

    def send(self, answer: Answer, release_id: str) -> None:
        """Sends an answer, and the id of the release that gave it."""
        self._reply(response(self._wanted, self._outputs(answer, release_id)))

    def fail(self, message: str) -> None:
        """Sends an error."""
        self._reply(pb_utils.InferenceResponse(error=pb_utils.TritonError(message)))

    def _reply(self, whole: Any) -> None:
        self._sender.send(whole, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def ask_candidate(question: Question, trial: Trial) -> Answer:
    """Asks the candidate inside Triton.

    Raises:
        CandidateError: It is not loaded, refused, or is another release than the trial names.
    """
    texts = np.array([text.encode() for text in question.texts], dtype=np.object_)
    wanted = np.full((len(texts), 1), question.k, dtype=np.int32)
    reply = pb_utils.InferenceRequest(
        model_name=SEARCH + TRIAL_SUFFIX,
        model_version=trial.version,
        requested_output_names=list(_OUTPUTS),
        inputs=[pb_utils.Tensor("TEXT", texts.reshape(-1, 1)), pb_utils.Tensor("K", wanted)],
    ).exec()
    if reply.has_error():
        raise CandidateError(reply.error().message())
    found = {name: pb_utils.get_output_tensor_by_name(reply, name).as_numpy() for name in _OUTPUTS}
    release_id = found["RELEASE_ID"][0, 0].decode()
    if release_id != trial.release_id:
        raise CandidateError(f"release {release_id} answered for {trial.release_id}")
    # The copy outlives the shared memory of the reply.
    return Answer(found["PRODUCT_IDS"], found["SCORES"].copy(), found["TITLES"])
