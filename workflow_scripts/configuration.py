"""Files of configuration: what stands in one, on top of its base, and what is wrong with it in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

OWN = ("experiment", "title")
"""Keys that a file does not take from its base: results of two experiments must not share a place or a heading."""
WHOLE = (("tokenizer",),)
"""Places of mappings that are not merged: what they leave out has a meaning."""


class ConfigurationError(ValueError):
    """The configuration cannot be used; the message names the key, the value and what is allowed."""


def read_yaml(path: str | Path) -> Any:
    """What stands in a file.

    Raises ConfigurationError if it cannot be read, or if a key stands twice: YAML takes the last one without a word.
    """
    try:
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_keys_twice(node, path, (), set())
        return loader.construct_document(node)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: no YAML file that can be read: {error}") from None


def _refuse_keys_twice(node: yaml.Node, path: str | Path, place: tuple[Any, ...], seen: set[yaml.Node]) -> None:
    if node in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(node)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _refuse_keys_twice(item, path, (*place, index), seen)
        return
    keys = set()
    for key, value in node.value:
        name = str(key.value)
        if name in keys:
            under = f" under {'.'.join(map(str, place))}" if place else ""
            raise ConfigurationError(
                f"{path}, line {key.start_mark.line + 1}: `{name}` stands twice{under}; remove one, or rename it"
            )
        keys.add(name)
        _refuse_keys_twice(value, path, (*place, name), seen)


def with_base(config: Any, name: str, below: tuple[str, ...] = ()) -> Any:
    """`config` on top of the file that its key `base` names, relative to the repository's root: mappings are merged
    key by key, anything else takes the place of what the base has; so do a tokenizer and a source of another kind.  Of
    corpora and their sources, null removes the base's.  `name` is the file, for messages, and `below` the
    files it is a base of.

    Raises ConfigurationError if the base cannot be read, or leads back to where it came from.
    """
    if not isinstance(config, dict) or "base" not in config:
        return config
    base = str(config["base"])
    if base in below:
        raise ConfigurationError(f"{name} cannot be used:\n  base: {base!r} leads back to itself")
    try:
        held = read_yaml(base)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} cannot be used:\n  base: {error}") from None
    if not isinstance(held, dict):
        raise ConfigurationError(f"{name} cannot be used:\n  base: {base!r} holds no keys")
    held = {key: value for key, value in with_base(held, base, (*below, base)).items() if key not in OWN}
    return _merged(held, {key: value for key, value in config.items() if key != "base"})


def _merged(below: Any, above: Any, place: tuple[str, ...] = ()) -> Any:
    """`above` on top of `below`, which both stand under the keys of `place`."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    if place in WHOLE or _is_another_source(below, above, place):
        return above
    merged = below | {
        key: _merged(below[key], value, (*place, key)) if key in below else value for key, value in above.items()
    }
    holds_sources = place[:1] == ("corpora",) and len(place) <= 2
    return {key: value for key, value in merged.items() if not (holds_sources and value is None and key in below)}


def _is_another_source(below: dict[str, Any], above: dict[str, Any], place: tuple[str, ...]) -> bool:
    is_source = place[:1] == ("corpora",) and len(place) == 3
    return is_source and above.get("kind", below.get("kind")) != below.get("kind")


def explain(error: ValidationError, name: str) -> str:
    """One line a problem: the key, the value found, what is allowed."""
    lines, problems = [], error.errors(include_url=False)
    parents = {problem["loc"][:end] for problem in problems for end in range(len(problem["loc"]))}
    for problem in problems:
        if problem["loc"] in parents:  # a list without its wrong items is too short as well
            continue
        place = tuple(part for part in problem["loc"] if part != "[key]")
        if place[:1] == ("corpora",):
            place = place[:3] + place[4:]  # the fourth is the kind of the source
        key = ".".join(map(str, place)) or "(top level)"
        message = (
            problem["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list").replace("Tuple", "List")
        )
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        found = problem["input"]
        shown = "" if isinstance(found, dict | BaseModel) or problem["type"] == "missing" else f" (found {found!r})"
        lines.append(f"  {key}: {message}{shown}")
    return "\n".join([f"{name} cannot be used:", *lines])
