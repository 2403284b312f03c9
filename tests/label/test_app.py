"""What the server of label.py answers, and to whom."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from labelling.page.app import make_app
from labelling.page.gate import Gate
from labelling.page.server import Address, bind
from labelling.page.session import LabellingSession
from shared.errors import ConfigurationError

ADDRESS = Address(8765, "secret")
OpenSession = Callable[..., LabellingSession]
ANSWER = {
    **{"tab": "a", "id": "1", "rows": [2], "whys": ["random"], "label": [1, 0, 0]},
    **{"seconds": 1.5, "prediction_shown": False, "n": 1, "held": []},
}


@pytest.fixture
def session(open_session: OpenSession) -> LabellingSession:
    return open_session()


@pytest.fixture
def client(session: LabellingSession) -> Iterator[TestClient]:
    app = Gate(make_app(session), ADDRESS.token, ADDRESS.hosts)
    with TestClient(app, base_url=ADDRESS.url, raise_server_exceptions=False) as client:
        yield client


STRANGERS: dict[str, tuple[str, dict[str, str], int]] = {
    "no token": ("/", {}, 403),
    "another token": ("/secre/state", {}, 403),
    "a token that goes on": ("/secretly/state", {}, 403),
    "another host": ("/secret/state", {"host": "example.org:8765"}, 421),
    "another port": ("/secret/state", {"host": "127.0.0.1:80"}, 421),
    "no host": ("/secret/state", {"host": ""}, 421),
    "another origin": ("/secret/state", {"origin": "http://example.org"}, 403),
    "a sandboxed frame": ("/secret/state", {"origin": "null"}, 403),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_gate_refuses(case: str, client: TestClient) -> None:
    path, headers, status = STRANGERS[case]
    reply = client.get(f"http://127.0.0.1:8765{path}", headers=headers)
    assert reply.status_code == status
    assert "dark" not in reply.text
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")


def test_page_and_its_files_are_served_with_a_strict_policy(client: TestClient) -> None:
    page = client.get("")
    assert page.status_code == 200
    assert "<title>Label pictures</title>" in page.text
    assert "unsafe" not in page.headers["content-security-policy"]
    assert " onclick" not in page.text
    assert "style=" not in page.text
    for name in ("page.js", "requests.js", "panels.js", "review.js", "page.css", "icon.svg"):
        assert client.get(f"static/{name}").status_code == 200
    assert client.get("http://127.0.0.1:8765/secret").url == ADDRESS.url  # relative links work
    assert client.get("static/../app.py").status_code in {403, 404}


def test_state_says_what_is_labelled_where(client: TestClient, tmp_path: Path) -> None:
    state = client.get("state").json()
    assert state["classes"] == ["dark", "bright", "striped"]
    assert state["out"] == str(tmp_path / "out")
    assert state["counts"]["remaining"] == 10


def test_answer_brings_the_next_and_is_written(
    client: TestClient, session: LabellingSession
) -> None:
    reply = client.post("answer", json=ANSWER).json()
    assert len(reply["cards"]) == 1
    assert reply["counts"]["labelled"] == 1
    assert session.labels == {2: (1, 0, 0)}
    again = client.post("answer", json=ANSWER).json()
    assert again["counts"]["labelled"] == 1
    undone = client.post("undo", json={"tab": "a"}).json()
    assert [(card["row"], card["label"]) for card in undone["cards"]] == [(2, [1, 0, 0])]


BAD: dict[str, dict[str, Any]] = {
    "no id": {"id": ""},
    "an id that never ends": {"id": "x" * 65},
    "a row of text": {"rows": ["2"]},
    "another row": {"rows": [10]},
    "a long label": {"label": [0, 0, 0, 1]},
    "time that is none": {"seconds": "NaN"},
    "an unknown field": {"shown": 1},
}


@pytest.mark.parametrize("case", BAD)
def test_answer_refuses(case: str, client: TestClient, session: LabellingSession) -> None:
    reply = client.post("answer", json={**ANSWER, **BAD[case]})
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert session.labels == {}


def test_answer_says_where_the_disk_refuses(
    client: TestClient, session: LabellingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    reply = client.post("answer", json=ANSWER)
    assert reply.status_code == 507
    assert "No space left" in reply.json()["error"]
    assert session.labels == {}


def test_history_is_newest_first_and_each_once(client: TestClient) -> None:
    for number, row in enumerate([2, 5, 2]):
        client.post("answer", json={**ANSWER, "id": str(number), "rows": [row]})
    assert [card["row"] for card in client.get("history").json()["cards"]] == [2, 5]


@pytest.mark.parametrize("kind", ["thumbnail", "picture", "pixels"])
def test_images_that_a_browser_shows_are_sent_as_they_are(
    kind: str, client: TestClient, tmp_path: Path
) -> None:
    reply = client.get(f"images/3/{kind}")
    assert reply.headers["content-type"] == "image/png"
    assert reply.content == (tmp_path / "pool" / "003.png").read_bytes()


@pytest.mark.parametrize("address", ["images/10/picture", "images/0/other", "images/-1/picture"])
def test_images_that_are_none_are_not_found(address: str, client: TestClient) -> None:
    assert client.get(address).status_code == 404


def test_images_of_other_kinds_are_made_readable(client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "pool" / "004.png"
    picture = Image.new("RGB", (2000, 10), (200, 30, 30))
    picture.save(file, "TIFF")
    shown = {}
    for kind in ("pixels", "picture", "thumbnail"):
        shown[kind] = Image.open(io.BytesIO(client.get(f"images/4/{kind}").content))
    assert {kind: image.size for kind, image in shown.items()} == {
        **{"pixels": (2000, 10), "picture": (1600, 8), "thumbnail": (320, 2)}
    }
    assert shown["pixels"].format == "PNG"
    assert shown["pixels"].convert("RGB").tobytes() == picture.tobytes()


def test_images_that_are_broken_are_told(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "pool" / "005.png").write_bytes(b"no image")
    reply = client.get("images/5/picture")
    assert reply.status_code == 409
    assert "005.png cannot be read" in reply.json()["error"]


def test_bind_keeps_the_address_and_names_a_port_that_is_taken(tmp_path: Path) -> None:
    first, address = bind(tmp_path, None)
    with pytest.raises(ConfigurationError) as caught:
        bind(tmp_path, address.port)
    assert caught.value.code == "port-taken"
    first.close()
    second, again = bind(tmp_path, None)
    second.close()
    assert again == address
    assert len(address.token) >= 32
    assert (tmp_path / ".address.json").stat().st_mode & 0o077 == 0
