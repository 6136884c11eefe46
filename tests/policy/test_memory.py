"""What a policy remembers is bounded, and two threads may ask at once."""

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from holdshort.policy import Action, Kind, Layer, compile_policy
from holdshort.policy.memory import remember
from policy.samples import about, access, call, rule


def test_the_oldest_answer_is_forgotten_first() -> None:
    kept: dict[int, str] = {}
    for number in range(5):
        remember(kept, number, "x", most=3)

    assert list(kept) == [2, 3, 4]


def test_a_memory_of_one_keeps_one() -> None:
    kept: dict[str, int] = {}
    remember(kept, "a", 1, most=1)
    remember(kept, "b", 2, most=1)

    assert kept == {"b": 2}


def test_a_change_in_between_by_another_thread_only_forgets() -> None:
    class Busy(dict[str, int]):
        """A dict that another thread changes whenever somebody begins to look through it."""

        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("dictionary changed size during iteration")

    kept = Busy(a=1, b=2)
    remember(kept, "c", 3, most=2)

    assert dict(kept.items()) == {"c": 3}


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switches")
def test_threads_that_ask_one_policy_get_its_answers_and_never_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdshort.policy.memory.MOST_KEPT", 3)
    shared = compile_policy(
        [Layer("a", (rule("r", "allow", "*__t*"), rule("h", "hide"), about("p", "hide", Kind.PROMPT, "*__t*")))]
    )
    wrong: list[object] = []

    def ask(start: int) -> None:
        for number in range(start, start + 3000):
            server = f"s{number % 5}"
            found = shared.decide(call(f"{server}__t{number % 7}"))
            if found.action is not Action.ALLOW:
                wrong.append(found)
            seen = shared.access(access(Kind.PROMPT, f"t{number % 7}", server=server))
            if seen.action is not Action.HIDE:
                wrong.append(seen)

    threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_what_was_found_once_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = compile_policy([Layer("a", (rule("r", "allow", "s__*"), about("p", "hide", Kind.PROMPT, "s__*")))])
    engine, table = sys.modules["holdshort.policy.decide"], sys.modules["holdshort.policy.access"]
    looked: list[str] = []
    for module, name in ((engine, "_may_speak_of"), (engine, "matches"), (table, "may_speak_of"), (table, "fits")):
        real = getattr(module, name)

        def noted(*given: object, real: Callable[..., bool] = real, name: str = name) -> bool:
            looked.append(name)
            return real(*given)

        monkeypatch.setattr(module, name, noted)

    def ask(name: str) -> list[str]:
        looked.clear()
        kept.decide(call(f"s__{name}"))
        kept.access(access(Kind.PROMPT, name, server="s"))
        return looked.copy()

    assert ask("x") == ["_may_speak_of", "_may_speak_of", "matches", "may_speak_of", "may_speak_of", "fits"]
    assert ask("x") == []
    assert ask("y") == ["matches", "fits"]


def test_a_name_too_long_to_be_kept_is_answered_all_the_same() -> None:
    kept = compile_policy([Layer("a", (about("p", "hide", Kind.PROMPT),))])

    for name in ("x" * 3000, "x" * 3000):
        assert kept.access(access(Kind.PROMPT, name)).action is Action.HIDE
