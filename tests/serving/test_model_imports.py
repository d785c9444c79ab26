"""What a model's process loads before it answers, with customers waiting for the same cores."""

import subprocess
import sys


def test_the_query_encoder_alone_loads_nothing_that_searching_needs() -> None:
    code = "import sys, serving.models.encoding; print({'faiss', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
