"""Without the page: what `vfi serve` refuses and offers, and the words of its choices."""

import socket
import sys

import pytest

from vfi.commands.main import main
from vfi.commands.serve.command import models_of
from vfi.commands.serve.sessions import how
from vfi.errors import UserError


@pytest.mark.parametrize(("words", "options"), [
    (("smoother", "2x"), {"factor": "2"}),
    (("smoother", " 2.5x "), {"factor": "5/2"}),
    (("smoother", "60 per second"), {"fps": "60"}),
    (("smoother", "60000/1001 per second"), {"fps": "60000/1001"}),
    (("slower", "4x"), {"slow_motion": "4"}),
])  # fmt: skip
def test_words_of_the_page(words, options):
    assert how(*words) == options


@pytest.mark.parametrize("amount", ["", "x", "fast", "1/0", "2x; rm", "nan"])
def test_amounts_that_are_none(amount):
    with pytest.raises(UserError, match="expected an amount"):
        how("smoother", amount)


def test_slower_is_not_by_a_rate():
    with pytest.raises(UserError, match="how much slower, such as 4x, got '60 per second'"):
        how("slower", "60 per second")


@pytest.mark.parametrize(("words", "sentence"), [
    (["--host", "0.0.0.0"], "needs --password"),
    (["--host", "::"], "needs --password"),
    (["--jobs", "0"], "at least 1"),
    (["--waiting", "-1"], "at least 1"),
    (["--port", "70000"], "0 to 65535"),
    (["--weights", "rife"], "MODEL=FILE"),
    (["--weights", "none=a.pkl"], "MODEL=FILE"),
    (["--weights", "rife=/none/flownet.pkl"], "does not exist"),
    (["--max-size", "much"], "such as 4G"),
])  # fmt: skip
def test_what_is_refused(capsys, monkeypatch, words, sentence):
    monkeypatch.delenv("VFI_PASSWORD", raising=False)
    assert main(["serve", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_port_that_is_taken(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert main(["serve", "--port", str(other.getsockname()[1])]) == 2
    assert "Address already in use; another --port" in capsys.readouterr().err


def test_without_gradio_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    for name in ("page", "layout"):
        monkeypatch.delitem(sys.modules, f"vfi.commands.serve.{name}", raising=False)
    assert main(["serve", "--port", "0"]) == 2
    assert 'pip install "vfi-kernels[serve]"' in capsys.readouterr().err


def test_models_that_need_no_file_are_offered(tmp_path):
    weights = tmp_path / "flownet.pkl"
    weights.touch()
    offered = models_of([f"rife={weights}"])
    assert next(iter(offered)) == "flow-splat" and offered["rife"] == str(weights) and "sg-rife" not in offered
