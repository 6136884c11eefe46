"""Every file in `broken/` has one mistake, and its first line says where it is and what is said about it."""

import re
from pathlib import Path

import pytest

from holdshort.config import ConfigErrors, Problem, is_layer_file, load_config, load_layer

BROKEN = Path(__file__).parent / "broken"
ENVIRON = {"TOKEN": "s3cr3t-value-of-the-variable"}
EXPECT = re.compile(r"# expect: (?:(?P<file>\S+\.yaml):)?(?P<line>\d+):(?P<column>\d+) (?P<message>.+)")


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigErrors) as caught:
        (load_layer if is_layer_file(path) else load_config)(path, ENVIRON)
    return caught.value.problems


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_file_gives_one_error_at_the_very_place(path: Path) -> None:
    first = path.read_bytes().split(b"\n", 1)[0].decode()
    expected = EXPECT.fullmatch(first)
    assert expected is not None, f"{path.name} does not say what to expect"

    problems = problems_of(path)

    assert len(problems) == 1, "\n".join(map(str, problems))
    place = problems[0].place
    file = BROKEN / expected["file"] if expected["file"] else path
    assert str(place) == f"{file}:{expected['line']}:{expected['column']}", str(problems[0])
    assert expected["message"] in str(problems[0])
    assert "s3cr3t" not in str(problems[0])


def test_the_folder_of_broken_files_has_every_kind_of_mistake() -> None:
    assert len(list(BROKEN.glob("*.yaml"))) >= 60
