"""Do several seeds of a ladder end sooner at once, or one after the other?

    python benchmarks/ladder_jobs.py data/home --out reports/ladder-jobs.json

Climbs some rungs of the paper ladder with three seeds, each time from nothing, by `mmr ablate
--jobs` 1, 2 and 3. Run it when nothing else runs. docs/ablation.md has what it found.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Prints the seconds of each number of jobs, and the share of them that the first takes."""
    options = _parse()
    seconds: dict[str, list[float]] = {str(jobs): [] for jobs in options.jobs}
    for _ in range(options.rounds):
        for jobs in options.jobs:
            seconds[str(jobs)].append(round(_climb(options, jobs), 1))
            sys.stderr.write(f"--jobs {jobs}: {seconds[str(jobs)][-1]} s\n")
    first = seconds[str(options.jobs[0])]
    shares = {
        jobs: [round(one / other, 2) for one, other in zip(times, first, strict=True)]
        for jobs, times in seconds.items()
    }
    text = json.dumps({"seconds": seconds, "share of the first": shares}, indent=2)
    sys.stdout.write(f"{text}\n")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="as `mmr ablate` takes it")
    parser.add_argument("--only", default="domain", help="the last rung that is climbed")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _climb(options: argparse.Namespace, jobs: int) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "mmr", "ablate", options.dataset, "--only", options.only]
        command += ["--preset", options.preset, "--seeds", str(options.seeds)]
        command += ["--jobs", str(jobs), "--workspace", str(Path(scratch, "workspace"))]
        start = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        return time.monotonic() - start


if __name__ == "__main__":
    main()
