"""The `config.pbtxt` of the two Triton models."""

from serving.settings import ModelSettings

SEARCH = "search"
QUERY_ENCODER = "query_encoder"
MODELS = (QUERY_ENCODER, SEARCH)
CANDIDATE_SUFFIX = "_candidate"
"""A release is verified under `search_candidate` and `query_encoder_candidate`, which no client
asks for: Triton sends unpinned traffic to a new version of `search` as soon as it is loaded."""
TRIAL_SUFFIX = "_trial"
"""The candidate of a shadow or canary answers as `search_trial` and `query_encoder_trial`."""

_TEXT = '{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }'
_K = '{ name: "K" data_type: TYPE_INT32 dims: [ 1 ] optional: true }'
_RELEASE_ID = '{ name: "RELEASE_ID" data_type: TYPE_STRING dims: [ 1 ] }'
_INPUTS = {QUERY_ENCODER: (_TEXT,), SEARCH: (_TEXT, _K)}
_OUTPUTS = {
    QUERY_ENCODER: ('{ name: "EMBEDDING" data_type: TYPE_FP32 dims: [ -1 ] }', _RELEASE_ID),
    SEARCH: (
        '{ name: "PRODUCT_IDS" data_type: TYPE_STRING dims: [ -1 ] }',
        '{ name: "SCORES" data_type: TYPE_FP32 dims: [ -1 ] }',
        '{ name: "TITLES" data_type: TYPE_STRING dims: [ -1 ] }',
        _RELEASE_ID,
    ),
}


def model_config(model: str, settings: ModelSettings, *, keep_versions: int) -> str:
    """The text of one model's `config.pbtxt`.

    `keep_versions` versions stay loaded: a new one is loaded beside the old, and requests that
    are under way in a version finish before Triton unloads it.

    Args:
        model: `query_encoder` or `search`, with or without one of the suffixes.
        settings: Batching, threads, instances.
        keep_versions: Newest versions that Triton keeps loaded.
    """
    kind = model.removesuffix(CANDIDATE_SUFFIX).removesuffix(TRIAL_SUFFIX)
    return "\n".join(
        [
            f'name: "{model}"',
            'backend: "python"',
            f"max_batch_size: {settings.max_batch}",
            *(f"input {tensor}" for tensor in _INPUTS[kind]),
            *(f"output {tensor}" for tensor in _OUTPUTS[kind]),
            f"dynamic_batching {{ max_queue_delay_microseconds: {settings.queue_delay_us} }}",
            f"instance_group {{ kind: KIND_CPU count: {settings.instances} }}",
            f"version_policy {{ latest {{ num_versions: {keep_versions} }} }}",
            f'parameters {{ key: "threads" value {{ string_value: "{settings.threads}" }} }}',
            "model_warmup {",
            '  name: "one query" batch_size: 1 count: 3',
            '  inputs { key: "TEXT" value {',
            '    data_type: TYPE_STRING dims: [ 1 ] input_data_file: "query"',
            "  } }",
            "}",
            "",
        ]
    )
