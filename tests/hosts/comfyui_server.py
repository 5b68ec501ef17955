"""A real ComfyUI, in a folder of its own, with the nodes linked into it, and what its page says to it over HTTP.

VFI_COMFYUI is its folder, VFI_COMFYUI_PYTHON the interpreter that has its requirements and this project.
"""

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMFYUI, PYTHON = os.environ.get("VFI_COMFYUI"), os.environ.get("VFI_COMFYUI_PYTHON", sys.executable)
MARKS = [
    pytest.mark.nightly,
    pytest.mark.skipif(COMFYUI is None, reason="VFI_COMFYUI, the folder of a ComfyUI, is not set"),
]

# A node that writes whatever it is given, so that results are compared as they are and not as pictures.
KEEP = """
import os
import folder_paths, torch

class Anything(str):
    def __ne__(self, other):
        return False

class Keep:
    CATEGORY, FUNCTION, OUTPUT_NODE, RETURN_TYPES = "tests", "keep", True, ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (Anything("*"),), "name": ("STRING",)}}

    def keep(self, value, name):
        torch.save(value, os.path.join(folder_paths.get_output_directory(), name))
        return {"ui": {"kept": [name]}}

class Give:
    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "give", (Anything("*"),)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": ("STRING",)}}

    def give(self, name):
        return (torch.load(os.path.join(folder_paths.get_input_directory(), name), weights_only=False),)

NODE_CLASS_MAPPINGS = {"Keep": Keep, "Give": Give}
"""


class Graph(dict):
    """What is posted: nodes by number, inputs that are links or values."""

    def add(self, kind: str, **inputs: object) -> str:
        name = str(len(self) + 1)
        self[name] = {"class_type": kind, "inputs": {key: given for key, given in inputs.items() if given is not None}}
        return name

    def keep(self, node: str, output: int = 0, name: str = "kept.pt") -> str:
        return self.add("Keep", value=[node, output], name=name)


class Refused(Exception):
    """A graph that the server does not take; .errors: its sentences by node."""

    def __init__(self, answer: dict):
        super().__init__(json.dumps(answer))
        self.errors = {
            answer["node_errors"][node]["class_type"]: [
                f"{each['message']}: {each['details']}" for each in said["errors"]
            ]
            for node, said in answer["node_errors"].items()
        }


class Server:
    def __init__(self, folder: Path, *options: str):
        self.folder, self.log = folder, folder / "comfyui.log"
        for name in ("custom_nodes/keep", "models", "input", "output", "temp", "user"):
            (folder / name).mkdir(parents=True)
        (folder / "custom_nodes/keep/__init__.py").write_text(KEEP)
        (folder / "custom_nodes/vfi-kernels").symlink_to(ROOT / "integrations/comfyui")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [PYTHON, "main.py", "--cpu", "--port", str(self.port), "--disable-auto-launch", "--disable-api-nodes"]
        command += ["--base-directory", str(folder), "--database-url", "sqlite:///:memory:", *options]
        self.process = subprocess.Popen(command, cwd=COMFYUI, stdout=self.log.open("w"), stderr=subprocess.STDOUT)
        until = time.monotonic() + 180
        while not self.answers():
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.2)
        self.events: list[dict] = []
        threading.Thread(target=self._listen, daemon=True).start()
        while not self.events:
            time.sleep(0.05)

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def answers(self) -> bool:
        try:
            return bool(self.get("/queue"))
        except OSError:
            return False

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, sent: dict) -> dict:
        request = urllib.request.Request(
            self.url + path, json.dumps(sent).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)) from error

    def begin(self, graph: Graph) -> str:
        return self.post("/prompt", {"prompt": graph, "client_id": "tests"})["prompt_id"]

    def finished(self, job: str, seconds: float = 120) -> dict:
        """What is in the history; .status.messages says how it went."""
        until = time.monotonic() + seconds
        while not (found := self.get(f"/history/{job}")):
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)
        return found[job]

    def run(self, graph: Graph) -> dict:
        """The outputs of a graph, by nodes; what went wrong is an AssertionError."""
        told = self.finished(self.begin(graph))
        assert told["status"]["status_str"] == "success", told["status"]["messages"]
        return told["outputs"]

    def cached(self, graph: Graph) -> set[str]:
        """Runs it; the nodes whose results were taken from the last time."""
        job = self.begin(graph)
        assert self.finished(job)["status"]["status_str"] == "success"
        return set(self.of(job, "execution_cached")[0]["nodes"])

    def failed(self, graph: Graph) -> dict:
        """What the page shows of a graph that fails."""
        told = self.finished(self.begin(graph))["status"]
        assert told["status_str"] == "error", told
        return dict(told["messages"])["execution_error"]

    def interrupt(self) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/interrupt", b"", method="POST"), timeout=60).close()

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes of the process, or with "VmHWM" the most of them since `forget_most`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:"))

    def forget_most(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def of(self, job: str, kind: str) -> list[dict]:
        """Messages of this kind that the page was sent about a job."""
        return [
            each["data"] for each in list(self.events) if each["type"] == kind and each["data"].get("prompt_id") == job
        ]

    def _listen(self) -> None:
        """The page's websocket, of which it only reads; a frame of text has a length of 7, 16 or 64 bits."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection, connection.makefile("rb") as stream:
            key = base64.b64encode(os.urandom(16)).decode()
            connection.sendall(
                f"GET /ws?clientId=tests HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            while stream.readline().strip():
                pass
            while head := stream.read(2):
                length = head[1] & 127
                if length > 125:
                    length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
                content = stream.read(length)
                if head[0] & 15 == 1:
                    self.events.append(json.loads(content))
