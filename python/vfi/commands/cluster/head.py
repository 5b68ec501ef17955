"""The head of a cluster, asked before Ray is: which would wait for minutes, and say so in its own words."""

import socket
from pathlib import Path
from types import ModuleType

from vfi.errors import UserError, require
from vfi.files.overheard import overheard

CONNECTING = 10.0  # seconds in which a cluster must answer


def check_address(address: str) -> None:
    """Ray waits for minutes for one that does not answer."""
    if Path(address).exists():
        raise UserError(f"expected the address of a cluster behind --ray, got the file {address}: give --ray last")
    if address.startswith("ray://"):
        raise UserError("expected the address of the cluster's head, such as 10.0.0.1:6379, not one of a Ray client")
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        with socket.create_connection((host, int(port)), CONNECTING) as connection:
            connection.sendall(_HTTP2)
            answer = connection.recv(4)
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"no cluster of Ray {where(address)}: {error}") from error
    if answer[3:] != _SETTINGS:
        raise UserError(f"no cluster of Ray {where(address)}: what answers there is something else")


def check_token(ray: ModuleType, address: str) -> None:
    """Ray tries it for half a minute, and says so each time."""
    refused = getattr(ray.exceptions, "AuthenticationError", None)  # there are no tokens in earlier versions
    if ":" not in address or refused is None:
        return
    with overheard():
        try:
            require("ray._raylet", "ray").GcsClient(address=address)
        except refused as error:
            said = f"the cluster of Ray at {address} asks for a token: set RAY_AUTH_MODE=token"
            raise UserError(f"{said}, and have the token of its head in ~/.ray/auth_token") from error
        except Exception:  # it is told by who connects
            return


# How a connection of HTTP/2 begins, of which gRPC is, and the kind of frame by which a server answers.
_SETTINGS = b"\x04"
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5


def where(address: str) -> str:
    return "is running here" if address == "auto" else f"at {address}"
