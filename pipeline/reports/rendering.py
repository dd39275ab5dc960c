"""What all pages share. Each is one HTML text that needs no network and no other file.

Everything that comes from outside (file names, ids, error texts) reaches a page through jinja2's autoescape.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cluster.redaction import redacted_values
from modeling.emotions import EMOTIONS
from pipeline.reports.colours import COLOURS
from pipeline.reports.facts import ReportFacts
from pipeline.reports.findings import counted


def render_page(template: str, facts: ReportFacts, **context: Any) -> str:
    """Renders one of `templates/` with its own context, the facts, and what every page shares."""
    environment = Environment(
        loader=PackageLoader("pipeline.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = dataclasses.replace(
        facts, configuration=redacted_values(_flat(facts.configuration)), files=redacted_values(facts.files)
    )
    return environment.get_template(template).render(
        facts=shown, colours=COLOURS, emotions=EMOTIONS, counted=counted, **context
    )


def _flat(configuration: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in configuration.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + str(name): value}
    return flat
