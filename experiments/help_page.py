"""Pages of ``--help``: the verbs, and every setting of a verb, from its dataclass."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, get_type_hints

from data_modules.config import SourceConfig
from data_modules.registry import load_dataset
from experiments.settings.loading import dataset_of, group_names, plain, sections, template
from experiments.verbs.table import Verb
from fer_id.settings import limits_text, type_text

WIDTH = 110
INDENT = 34

OVERVIEW = """\
fer-id VERB [PATH...] [key=value...]

Facial emotion recognition in children with intellectual disabilities. It assists people; it never diagnoses.

{verbs}

From nothing to a page, with drawn faces and no download:
  fer-id synth out=data/drawn subjects=12 seed=7
  fer-id train data=synthetic data.store=data/drawn protocol=holdout recipe=demo name=drawn/cnn_lstm
  fer-id train data=synthetic data.store=data/drawn protocol=holdout recipe=demo model=shallow_cnn name=drawn/shallow
  fer-id compare runs/drawn/* out=compare

From a site's folder (fer-id synth as=videos out=data/site_a draws one) to a model for use:
  fer-id prepare data=cohort data.source=data/site_a out=data/site_a_store
  fer-id adapt data=cohort data.store=data/site_a_store init.run=runs/drawn/cnn_lstm name=site_a/full
  fer-id adapt data=cohort data.store=data/site_a_store init.run=runs/drawn/cnn_lstm protocol=holdout \\
    protocol.test_fraction=0.05 name=site_a/final
The first adapt judges child by child and leaves a model for each child; the second trains the one to release or use.

From weights that travel with fer_id (for research; fer-id card shipped:fer2013 says what they are):
  fer-id predict video.mp4 run=shipped:fer2013
  fer-id adapt data=cohort data.store=data/site_a_gray model=conv4 init.run=shipped:fer2013 name=site_a/from_fer2013

Settings are key=value, in any order. data=, model=, recipe= and protocol= choose a group of settings: a shipped one by
name, your own by the path of its .yaml file; model=timm:NAME takes any backbone of timm. Dotted keys such as
trainer.max_epochs=20 then override single settings. Brackets need quotes: "model.widths=[16,32,64,128]".
  fer-id VERB --help              every setting of a verb, with its default and limits
  fer-id prepare data=folder --help   with data=, the settings of that dataset

A training saves after every epoch: stopped, killed or cut off, the same command goes on from there as if nothing had
happened.

Exit codes: 0 done, 2 something you can mend (the message says how), 1 a fault of fer-id, 130 interrupted by Ctrl-C,
143 by SIGTERM."""


def overview(verbs: Mapping[str, Verb]) -> str:
    """Return the page of ``fer-id --help``."""
    width = max(map(len, verbs))
    return OVERVIEW.format(verbs="\n".join(f"  {name:<{width}}  {verb.does}" for name, verb in verbs.items()))


def verb_help(name: str, verb: Verb, schema: type, arguments: Sequence[str]) -> str:
    """Return the page of ``fer-id VERB --help``: example, selectors, and each key with type, default, limits and help;
    with ``data=NAME`` among the ``arguments``, that dataset's keys."""
    chosen = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    choice = chosen.get("data", "")
    chosen |= {"data": dataset_of(choice)} if choice else {}
    config = template(schema, chosen)
    takes = "".join(f" {word.upper().rstrip('S')}{'...' if word.endswith('s') else ''}" for word in verb.paths.split())
    example = _example_of(config.data, chosen["data"], choice) if name == "prepare" and choice else verb.example
    lines = [f"fer-id {name}{takes} [key=value...]: {verb.does}", "", f"  {example}", ""]
    for field in dataclasses.fields(schema):
        if "selector" in field.metadata:
            usual = field.metadata.get("of_data", {}).get(chosen.get("data"), field.metadata["selector"])
            default = f" (default {usual})" if usual else ""
            more = "; data=NAME --help shows its settings" if field.name == "data" else ""
            names = ", ".join([*group_names(field.name), *(["timm:NAME"] if field.name == "model" else [])])
            lines += _paragraph(f"  {field.name}=NAME", f"one of {names}, or the path of your own .yaml{default}{more}")
    if chosen.get("data", "") != choice:
        lines += _paragraph(f"  data={choice}", "a file, whose values replace the defaults below")
    return "\n".join([*lines, *_lines_of_keys(config)])


def _example_of(data: SourceConfig, dataset: str, choice: str) -> str:
    """Return the command that makes a store of ``choice``, a dataset or a file of its settings that has the rest."""
    if made_by := load_dataset(dataset).made_by:
        return made_by
    needs = data.example if dataset == choice else SourceConfig.example
    return f"fer-id prepare data={choice} {needs} out=data/{PurePath(choice).stem}"


def _lines_of_keys(config: Any) -> list[str]:
    """Return the lines of every key, a section's own keys first, then its sections."""
    lines: list[str] = []
    for prefix, section in sections(config):
        hints, documented = get_type_hints(type(section)), _documented(type(section))
        if prefix:
            about = (type(section).__doc__ or "").split("\n")[0].replace("``", "")
            lines += ["", f"{prefix[:-1]}: {about}"]
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            if "selector" not in field.metadata and not dataclasses.is_dataclass(value):
                limits = limits_text(field.metadata)
                kind = type_text(hints[field.name]) + (f", {limits}" if limits else "")
                help_text = field.metadata.get("help") or documented.get(field.name, "")
                left = f"  {prefix}{field.name.rstrip('_')}={_shown(value)}"
                lines += _paragraph(left, f"{help_text.replace('``', '').rstrip('.')} [{kind}]")
    return lines


def _documented(schema: type) -> dict[str, str]:
    """Return the help of fields that a dataclass documents in its docstring (``Attributes:``), not at the field."""
    about: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        text = textwrap.dedent((base.__doc__ or "").partition("Attributes:\n")[2])
        about |= {name: " ".join(words.split()) for name, words in re.findall(r"^(\w+): (.*(?:\n +.*)*)", text, re.M)}
    return about


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(plain(value))


def _paragraph(left: str, text: str) -> list[str]:
    """Return the lines of ``left``, and ``text`` wrapped in the column beside it."""
    wrapped = textwrap.wrap(text.strip(), WIDTH - INDENT) or [""]
    if len(left) < INDENT - 1:
        return [left.ljust(INDENT) + wrapped[0], *(" " * INDENT + line for line in wrapped[1:])]
    return [left, *(" " * INDENT + line for line in wrapped)]
