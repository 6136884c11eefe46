from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from holdshort.store import Store
from holdshort.store.faults import disarm
from store.places import Place, SQLitePlace


@pytest.fixture(params=["sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every kind of store there is, one after another."""
    return {"sqlite": SQLitePlace}[str(request.param)](tmp_path / "state")


@pytest.fixture
async def store(place: Place) -> AsyncGenerator[Store]:
    async with place.open() as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_faults_left() -> Generator[None]:
    yield
    disarm()
