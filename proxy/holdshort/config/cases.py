"""The cases of a policy, as its author writes them beside it in `NAME.cases.yaml`, with the policy they are about."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdshort.config.case_reader import CaseReader
from holdshort.config.document import Entry
from holdshort.config.layers import check_version, read_layer
from holdshort.config.load import is_layer_file, load_config
from holdshort.config.model import Config, ConfigErrors, Problem
from holdshort.config.reading import Reading
from holdshort.policy import Layer, Place, Policy, compile_policy
from holdshort.policy.cases import Case

__all__ = ["CASES_SUFFIX", "CaseFile", "is_cases_file", "load_cases"]

CASES_SUFFIX: Final = ".cases.yaml"

_FILE_KEYS: Final = ("version", "policy", "cases")


@dataclass(frozen=True, slots=True)
class CaseFile:
    """The cases of one file. `config` is set where the policy is that of a whole `holdshort.yaml`."""

    file: str
    policy: Policy
    cases: tuple[Case, ...]
    config: Config | None = None
    notes: tuple[Problem, ...] = ()


def is_cases_file(path: Path) -> bool:
    """Say whether the name of `path` is that of a file of cases."""
    return path.name.endswith(CASES_SUFFIX)


def load_cases(path: Path, environ: Mapping[str, str]) -> CaseFile:
    """Read a file of cases and the policy it is about. `environ` is for the policy's own files alone.

    Raises:
        ConfigErrors: with every problem in the file and in its policy.
    """
    reading = Reading(environ)
    document = reading.document(path, str(path))
    found = reading.section(document, "file of cases", _FILE_KEYS) if document is not None else None
    if document is None or found is None:
        raise _errors(reading)
    check_version(reading, found)
    policy, config = _policy(reading, found.get("policy"), path)
    cases: list[Case] = []
    if "cases" not in found:
        reading.missing(document, "cases", "there are no `cases`", _FILE_KEYS)
    elif found["cases"].value.kind != "list":
        value = found["cases"].value
        reading.problem(value.place, f"cases: expected a list, got {value.described}")
    else:
        one = CaseReader(reading, policy, config)
        cases = [case for item in found["cases"].value.items if (case := one.read(item)) is not None]
        if not found["cases"].value.items:
            reading.problem(found["cases"].value.place, "cases: the list is empty, so it tests nothing")
    if reading.problems or policy is None:
        raise _errors(reading)
    return CaseFile(str(path), policy, tuple(cases), config, tuple(reading.notes))


def _policy(reading: Reading, entry: Entry | None, path: Path) -> tuple[Policy | None, Config | None]:
    if entry is None:
        beside = path.with_name(path.name.removesuffix(CASES_SUFFIX) + ".yaml")
        if not beside.is_file():
            message = f"there is no `{beside.name}` beside this file; name the policy that it is about with `policy:`"
            reading.problem(_top(path), message)
            return None, None
        named: list[tuple[Place, str, Path]] = [(_top(path), beside.name, beside)]
    else:
        if entry.value.kind == "list" and not entry.value.items:
            reading.problem(entry.value.place, "policy: the list is empty; leave the key out, or name a file")
        named = []
        for item in reading.items(entry.value, "policy"):
            file = path.parent / item.raw
            if item.kind != "string" or not file.is_file():
                reading.problem(item.place, f"policy: there is no file `{item.raw[:200]}` (relative to this file)")
            else:
                named.append((item.place, item.raw, file))
        if len(named) < max(1, len(reading.items(entry.value, "policy"))):
            return None, None
    layers: list[Layer] = []
    for place, name, file in named:
        if is_layer_file(file):
            read = read_layer(reading, file, str(file), name)
            layers += [read[0]] if read is not None else []
        elif len(named) > 1:
            reading.problem(place, f"policy: `{name}` is a whole configuration and has all its layers; name it alone")
        else:
            return _whole(reading, file)
    return compile_policy(layers), None


def _whole(reading: Reading, file: Path) -> tuple[Policy | None, Config | None]:
    try:
        config = load_config(file, reading.environ)
    except ConfigErrors as errors:
        reading.problems.extend(errors.problems)
        reading.notes.extend(errors.notes)
        return None, None
    return config.policy, config


def _top(path: Path) -> Place:
    return Place(str(path), 1, 1)


def _errors(reading: Reading) -> ConfigErrors:
    """All problems, file by file, from top to bottom."""

    def position(problem: Problem) -> tuple[str, int, int]:
        return problem.place.file, problem.place.line, problem.place.column

    return ConfigErrors(sorted(reading.problems, key=position), reading.notes)
