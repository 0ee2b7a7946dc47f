"""One server for the whole room, on the session's Ray cluster: tiny artifacts of random numbers.

It ends with the room: whoever comes next on that cluster wants its cores.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.registry import PromptRegistry
from tests.once import empty_registry
from tests.registry.made import INTENT, SAME, SLOTS, backbone_of, make_shared
from tests.serve.servers import MARKUP, Server, free_port, start
from tests.serve.typed import CHALLENGERS, TYPED, made_of


@pytest.fixture(scope="package")
def server(ray_cluster, tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve")
    registry = PromptRegistry(empty_registry(folder), prefix="served")
    made = Server(f"http://127.0.0.1:{free_port()}", registry, folder)
    for seed, task in enumerate((INTENT, SAME, SLOTS, MARKUP), start=1):
        made.add(task, seed, "champion")
    made.add(INTENT, 11, "challenger")
    for seed, (name, settings) in enumerate(TYPED.items(), start=21):
        made.add(made_of(name, settings), seed, "champion")
        made.add(made_of(name, CHALLENGERS.get(name, settings)), seed + 10, "challenger")
    make_shared(folder / "shared", backbone_of("bert"))
    registry.register(folder / "shared")
    with start(made, folder / "ray.log"):
        yield made


@pytest.fixture(scope="package")
def browser(tmp_path_factory):
    from tests.serve.pages import chromium, has_chromium

    if not has_chromium():
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    with chromium(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture
def page(browser, server):
    from tests.serve.pages import open_page

    return open_page(browser, server)
