"""Finds the Triton server of the `nvidia-pytriton` wheel in its own virtual environment."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mmr.errors import ServingError

ENVIRONMENT_VARIABLE = "MMR_TRITON_VENV"
STUB = "triton_python_backend_stub"
"""The executable of a model process."""
_DEFAULT_NAME = ".venv-triton"
_CURE = (
    "Run `make setup`, which builds it, or name another one with --triton-venv or "
    f"{ENVIRONMENT_VARIABLE}."
)
_PROBE_TIMEOUT_S = 60
# Triton's Python stub is linked to libpython, which not every Python brings.
_PROBE = """
import ctypes, importlib.metadata, importlib.util, json, os, sys, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
base = sysconfig.get_config_var("LIBDIR") or ""
multiarch = sysconfig.get_config_var("MULTIARCH") or ""
def loads(path):
    try:
        ctypes.CDLL(path)
    except OSError:
        return False
    return True
soname = name if ".so" in name else "libpython%d.%d.so.1.0" % sys.version_info[:2]
places = [base, os.path.join(base, multiarch)]
found = next((place for place in places if loads(os.path.join(place, soname))), None)
spec = importlib.util.find_spec("pytriton")
print(json.dumps({
    "pytriton": spec and os.path.dirname(spec.origin),
    "numpy": importlib.metadata.version("numpy") if importlib.util.find_spec("numpy") else None,
    "python": "%d.%d" % sys.version_info[:2],
    "site_packages": sysconfig.get_path("purelib"),
    "libpython": found if found is not None else "" if loads(soname) else None,
    "soname": soname,
}))
"""


@dataclass(frozen=True)
class TritonVenv:
    """A virtual environment with Triton in it.

    Attributes:
        path: The environment.
        server: The `tritonserver` folder of the wheel.
        site_packages: Where its packages lie.
        python: Its Python's version, such as `3.11`.
        libpython: Folder of the shared Python library; empty if the loader finds it by itself.
    """

    path: Path
    server: Path
    site_packages: Path
    python: str
    libpython: str

    @classmethod
    def locate(cls, path: Path | None = None) -> Self:
        """Finds and probes the environment.

        Args:
            path: The environment; by default `.venv-triton` in the current directory, beside the
                running Python's own environment, or beside the sources.

        Raises:
            ServingError: There is none, or it cannot run Triton.
        """
        places = [path] if path else _default_places()
        found = next((place for place in places if (place / "bin" / "python").exists()), None)
        if found is None:
            tried = ", ".join(str(place) for place in places)
            raise ServingError(f"The Triton environment is missing (looked at {tried}). {_CURE}")
        return cls._probe(found.absolute())

    @classmethod
    def _probe(cls, path: Path) -> Self:
        facts = _run_probe(path)
        if not facts["pytriton"]:
            raise ServingError(f"{path} has no nvidia-pytriton, so no Triton. {_CURE}")
        if not facts["numpy"] or int(facts["numpy"].split(".")[0]) >= 2:
            raise ServingError(f"{path} has numpy {facts['numpy']}, Triton needs <2. {_CURE}")
        if facts["libpython"] is None:
            raise ServingError(
                f"Triton needs {facts['soname']}, which the Python of {path} does not bring. "
                f"Install it (on Debian: apt install libpython{facts['python']}), or build "
                f"{path} with a Python made with --enable-shared."
            )
        venv = cls(
            path=path,
            server=Path(facts["pytriton"]) / "tritonserver",
            site_packages=Path(facts["site_packages"]),
            python=facts["python"],
            libpython=facts["libpython"],
        )
        for needed in (venv.binary, venv._stub):
            if not needed.is_file():
                raise ServingError(f"{needed} is missing from the Triton environment. {_CURE}")
        return venv

    @property
    def binary(self) -> Path:
        """The server's executable."""
        return self.server / "bin" / "tritonserver"

    @property
    def _stub(self) -> Path:
        return self.server / "python_backend_stubs" / self.python / STUB

    def prepare_backends(self, directory: Path) -> None:
        """Puts the Python backend and the stub for this Python version together in `directory`."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        shutil.copytree(self.server / "backends" / "python", directory / "python")
        shutil.copy2(self._stub, directory / "python" / self._stub.name)

    def environment(self, code: Path) -> dict[str, str]:
        """The server's environment: only what it needs, so that no secret gets there.

        Args:
            code: Directory with the packages `mmr` and `serving`.
        """
        kept = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "CUDA_VISIBLE_DEVICES")
        libraries = [self.libpython, str(self.site_packages / "nvidia_pytriton.libs")]
        return {name: os.environ[name] for name in kept if name in os.environ} | {
            # The stub's isolated Python takes its packages from the first python3 on the PATH.
            "PATH": f"{self.path / 'bin'}:{os.environ.get('PATH', os.defpath)}",
            "LD_LIBRARY_PATH": ":".join(place for place in libraries if place),
            "PYTHONPATH": str(code),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }


def _default_places() -> list[Path]:
    roots = (Path.cwd(), Path(sys.prefix).parent, Path(__file__).parent.parent)
    return list(dict.fromkeys(root / _DEFAULT_NAME for root in roots))


def _run_probe(path: Path) -> dict[str, str]:
    try:
        output = subprocess.run(
            [path / "bin" / "python", "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PROBE_TIMEOUT_S,
        ).stdout
        facts: dict[str, str] = json.loads(output)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        raise ServingError(f"The Python of {path} cannot be run: {detail}. {_CURE}") from error
    return facts
