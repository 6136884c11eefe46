"""From the blocks of servers to what is written about each: read by the loader, asked for its tools, sorted."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdshort.cli.init.given import variables_in
from holdshort.cli.init.packs import match_pack
from holdshort.cli.init.planned import Planned
from holdshort.cli.init.sorting import Heap, sort_tools
from holdshort.config import Config, ConfigErrors, load_config
from holdshort.errors import HoldshortError

if TYPE_CHECKING:
    from holdshort.server.survey import Survey

__all__ = ["Unsound", "check_files", "planned", "readable"]


class Unsound(HoldshortError):
    """Raised when what would be written does not pass the checks it has to pass; nothing is written then."""

    code = "unsound"


@dataclass(frozen=True, slots=True)
class Readable:
    """The servers that our loader takes; of the others, why not."""

    config: Config | None
    blocks: Mapping[str, Mapping[str, Any]]
    unset: Mapping[str, str]
    """Why a server cannot be asked: the variables it needs."""
    refused: Mapping[str, str]


def readable(blocks: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> Readable:
    """Read every block as `holdshort serve` would."""
    good: dict[str, Mapping[str, Any]] = {}
    ready: dict[str, Mapping[str, Any]] = {}
    unset: dict[str, str] = {}
    refused: dict[str, str] = {}
    for label, block in blocks.items():
        missing = [name for name in variables_in(block) if name not in environ]
        assumed = {**environ, **dict.fromkeys(missing, "not-set")}
        try:
            _loaded({label: block}, assumed)
        except ConfigErrors as errors:
            refused[label] = errors.problems[0].message
            continue
        good[label] = block
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            unset[label] = f"could not be asked: {names} {'is' if len(missing) == 1 else 'are'} not set"
        else:
            ready[label] = block
    return Readable(_loaded(ready, environ) if ready else None, good, unset, refused)


def planned(
    found: Readable, surveys: Mapping[str, "Survey"], *, use_packs: bool, deny_destructive: bool
) -> list[Planned]:
    """Return what is to be written about every server, in the order of the blocks."""
    configured = {server.label: server for server in found.config.servers} if found.config is not None else {}
    plans: list[Planned] = []
    for label, block in found.blocks.items():
        survey = surveys.get(label)
        if survey is None or survey.error is not None:
            reason = survey.error if survey is not None else found.unset.get(label)
            plans.append(Planned(label, block, error=reason or "was not asked"))
            continue
        plan = _sorted(label, block, survey)
        server = configured[label]
        denied = deny_destructive and any(tool.heap is Heap.DESTRUCTIVE for tool in plan.tools)
        # No pack denies what destroys, so the tools are written out for those who want that.
        if use_packs and server.trust_annotations and not denied:
            command = [server.command or "", *server.args]
            names = [tool.name for tool in plan.tools]
            plan = replace(plan, pack=match_pack(command, server.url, names))
        plans.append(plan)
    return plans


def check_files(folder: Path, texts: Mapping[str, str], policy: str, environ: Mapping[str, str]) -> None:
    """Read the new files as a user would check them: sound, without problems for `lint`, every case passing.

    Raises:
        Unsound: with the first thing that is wrong.
    """
    from holdshort.config.cases import load_cases
    from holdshort.policy.cases import run_cases
    from holdshort.policy.coverage import cover

    with tempfile.TemporaryDirectory(prefix="holdshort-init-") as name:
        for path, text in texts.items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_text(text, encoding="utf-8")
        try:
            if "holdshort.yaml" in texts:
                load_config(Path(name) / "holdshort.yaml", environ)
            cases = load_cases(Path(name) / policy.replace(".yaml", ".cases.yaml"), environ)
        except ConfigErrors as errors:
            raise Unsound(f"what would be written for `{folder}` is not sound: {errors.problems[0].message}") from None
    results = run_cases(cases.policy, cases.cases)
    failed = next((result for result in results if not result.passed), None)
    if failed is not None:
        raise Unsound(f"what would be written for `{folder}` fails its own case `{failed.case.note}`")
    missed = cover(cases.policy, results).missed
    if missed:
        raise Unsound(f"what would be written for `{folder}` has no case for its rule `{missed[0].rule.id}`")


def _sorted(label: str, block: Mapping[str, Any], survey: "Survey") -> Planned:
    trusted = block.get("trust_annotations") not in (False, "false")
    names = tuple(name for names in survey.left_out.values() for name in names)
    about = " ".join(word for word in (survey.name, survey.version) if word)
    return Planned(label, block, sort_tools(survey.tools, trusted=trusted), about, names)


def _loaded(blocks: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]) -> Config:
    with tempfile.TemporaryDirectory(prefix="holdshort-init-") as name:
        path = Path(name) / "holdshort.yaml"
        path.write_text(json.dumps({"version": 1, "mcpServers": blocks}), encoding="utf-8")
        return load_config(path, environ)
