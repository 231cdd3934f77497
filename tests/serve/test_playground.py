"""The playground's files: who may have them, under which rules; both languages are whole."""

from __future__ import annotations

import re

import pytest
from asking import Make, Served

from assay.serve.auth import Keys
from assay.serve.playground.page import PATHS, playground_files

FILES = {path: content.decode() for path, (_, content) in playground_files().items()}


def words_of(language: str) -> dict[str, str]:
    block = re.search(
        rf"^  {language}: {{\n(.*?)^  }},$", FILES["/playground/words.js"], re.S | re.M
    )
    assert block is not None
    return dict(re.findall(r'^    (\w+): "(.*)",$', block[1], re.M))


def test_every_file_is_served_under_a_strict_policy(server: Served) -> None:
    assert "/" in PATHS
    for path in PATHS:
        answer = server.get(path)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        known = {"If-None-Match": answer.headers["etag"]}
        again = server.ask(("GET", path, None), headers=known)[0]
        assert (again.status_code, again.content) == (304, b"")
        head = server.ask(("HEAD", path, None))[0]
        assert (head.status_code, head.content) == (200, b"")
    assert server.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert 'route="/"' in server.get("/metrics").text


def test_nothing_comes_from_elsewhere() -> None:
    page = FILES["/"]
    wanted = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
    assert {path for path in wanted if path.startswith("playground/")} | {"openapi.json"} == wanted
    for name, text in FILES.items():
        if name.endswith(".js"):
            wanted |= {f"playground/{module}" for module in re.findall(r'from "\./([^"]+)"', text)}
        assert "innerHTML" not in text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
    served = {path.removeprefix("/") for path in PATHS} - {""}
    assert wanted - {"openapi.json"} == served
    assert not re.search(r"<(script|style)>| on\w+=| style=", page)


def test_both_languages_say_everything_and_nothing_more() -> None:
    english, chinese = words_of("en"), words_of("zh")
    assert len(english) > 70
    assert english.keys() == chinese.keys()
    for key, words in english.items():
        names = [set(re.findall(r"\{(\w+)\}", text)) for text in (words, chinese[key])]
        assert names[0] == names[1], key
    code = "".join(text for name, text in FILES.items() if not name.endswith("words.js"))
    used = set(re.findall(r'(?:say\(|data-say="|data-label=")"?(\w+)"', code)) | set(
        re.findall(r'"(\w+)"', code)
    )
    used |= {f"role_{role}" for role in ("system", "user", "assistant")}
    assert english.keys() <= used


def test_it_can_be_left_off(serving: Make) -> None:
    without = serving(playground=False)
    assert {without.get(path).status_code for path in PATHS} == {404}
    assert without.get("/v1/models").status_code == 200


def test_the_page_is_open_and_nothing_else(serving: Make) -> None:
    served = serving(keys=Keys(["secret"]))
    assert {served.get(path).status_code for path in PATHS} == {200}
    for path in ("/v1/models", "/openapi.json", "/playground/", "/playground/../v1/models"):
        assert served.get(path).status_code == 401, path


@pytest.mark.parametrize("path", ["/playground/page.py", "/playground/index.html", "/playground"])
def test_other_files_are_not_there(server: Served, path: str) -> None:
    assert server.get(path).status_code == 404
