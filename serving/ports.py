"""Are the ports free that a server is to get?"""

import errno
import socket

from mmr.errors import ServingError
from serving.settings import ServeSettings


def check_ports(settings: ServeSettings) -> None:
    """Finds out before Triton is started.

    Raises:
        ServingError: One is taken, or may not be opened; the message names it and the cure.
    """
    ports = {
        "HTTP": settings.http_port,
        "gRPC": settings.grpc_port,
        "metrics": settings.metrics_port,
    }
    for name, port in ports.items():
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise ServingError(_port_message(name, port, settings.host, error)) from error


def _port_message(name: str, port: int, host: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} ({name}) on {host} is in use by another program. Stop that program (if "
            "it is the server of another workspace: `mmr serve --stop --workspace DIR`), or choose "
            "other ports, for example --port-base 8100."
        )
    return f"Port {port} ({name}) on {host} cannot be opened: {error.strerror}. Choose another."
