"""The shorthand keys of a server, with a place in the file for everything that does not fit."""

from collections.abc import Mapping

from holdshort.config.document import Entry, Value
from holdshort.config.reading import Reading, is_filled
from holdshort.policy import Layer
from holdshort.policy.shorthand import SHORTHAND_KEYS, leaves_tools_out, shorthand_layer

__all__ = ["read_shorthand"]


def read_shorthand(reading: Reading, label: str, keys: Mapping[str, Entry]) -> list[Layer]:
    """Return the layers that the shorthand keys of the server `label` make, one for each key."""
    layers: list[Layer] = []
    for key in SHORTHAND_KEYS:
        if key not in keys:
            continue
        entry = keys[key]
        plain = reading.plain(entry.value, key)
        layer, misfits = shorthand_layer(label, key, plain, entry.place)
        for misfit in misfits:
            target, found = _follow(entry, misfit.path)
            if is_filled(found):
                reading.problem(found.place, f"{key}: `{found.raw[:40]}` does not hold anything that fits here")
            else:
                reading.problem(target.place if misfit.at_key and target else found.place, f"{key}: {misfit.message}")
        if layer is not None:
            layers.append(layer)
            if key == "require_approval" and leaves_tools_out(plain):
                reading.note(
                    entry.place,
                    f"server `{label}`: tools that `require_approval` does not name are left to the other layers and "
                    "to `default`; the OpenAI Agents SDK would run them without approval",
                )
    return layers


def _follow(entry: Entry, path: tuple[str | int, ...]) -> tuple[Entry | None, Value]:
    """Return the entry and the value that `path` leads to inside a shorthand key."""
    at: Entry | None = entry
    value = entry.value
    for step in path:
        if isinstance(step, int):
            at, value = None, value.items[step]
        else:
            at = next(candidate for candidate in value.entries if candidate.key == step)
            value = at.value
    return at, value
