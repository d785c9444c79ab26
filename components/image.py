"""The one image that every component runs on."""

import os

# Read when a pipeline is compiled. Give a digest in production (`name@sha256:...`): a tag that
# moves lets the orchestrator's step cache answer for code that it never ran.
MMR_IMAGE = os.environ.get("MMR_IMAGE", "mmr-components:0.1.0")
