"""What the documentation says of each reason that a record can give: docs/protection.md and docs/explain.md, read by section.

A section is a heading, a reason in backticks, what it is, and parts that begin with bold words: `**A refusal means** that ...
**Look for** ... **If you are honest**, ... **Knobs:** ... **Blind spot:** ...`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

from aisp_runner.content import content_root
from aisp_runner.errors import AispError

PAGES = ("docs/protection.md", "docs/explain.md")

LEADS = {
    "means": "A refusal means|This means",
    "look_for": "Look for",
    "if_honest": "If you are honest",
    "knobs": "Knobs",
    "blind_spot": "Blind spot",
}
"""The bold words that begin each part, by the part's name."""

NEEDED = {
    "docs/protection.md": ("what", "means", "look_for", "if_honest", "knobs", "blind_spot"),
    "docs/explain.md": ("what", "means", "look_for", "if_honest"),
}
"""Parts that a section must have, by page. What is no protection has neither knobs nor a blind spot."""

_HEADING = re.compile(r"^#{2,3} +(.+)$", re.MULTILINE)
_REASON = re.compile(r"\s*`([A-Za-z_.]+)`(?:, \*\*essential\*\*)?\.")
_LEAD = re.compile("|".join(rf"\*\*(?P<{part}>{words})[:,]?\*\*".replace(" ", r"\s+") for part, words in LEADS.items()))


@dataclass(frozen=True)
class Section:
    """What one reason is about. Texts are one line each, without Markdown's links and bold."""

    reason: str
    read: str
    """Where it stands: docs/protection.md#late-writes."""
    parts: dict[str, str] = field(default_factory=dict)
    """"what" it is, in the section's first paragraph, and the parts of LEADS that are there. A part begins with its own words:
    "Look for a thread".
    """

    @property
    def lacking(self) -> list[str]:
        """Parts that it must have and has not."""
        return [part for part in NEEDED[self.read.partition("#")[0]] if not self.parts.get(part)]


@functools.cache
def sections() -> dict[str, Section]:
    """Every section of PAGES, by the reason it explains. Raises AispError where a page is missing."""
    found: dict[str, Section] = {}
    for page in PAGES:
        try:
            text = (content_root() / page).read_text("utf-8")
        except OSError as error:
            raise AispError(f"{page}: {error.strerror}. Install aisp-run again, or use a checkout.") from None
        found |= parse(text, page)
    return found


def parse(text: str, page: str) -> dict[str, Section]:
    """The sections of a page that begin with a reason in backticks, by reason."""
    headings = list(_HEADING.finditer(text))
    ends = [h.start() for h in headings[1:]] + [len(text)]
    found: dict[str, Section] = {}
    for heading, end in zip(headings, ends, strict=True):
        body = text[heading.end() : end]
        if reason := _REASON.match(body):
            anchor = heading[1].strip().lower().replace(" ", "-")
            found[reason[1]] = Section(reason[1], f"{page}#{anchor}", _parts(body[reason.end() :]))
    return found


def _parts(body: str) -> dict[str, str]:
    leads = list(_LEAD.finditer(body))
    ends = [lead.start() for lead in leads[1:]] + [len(body)]
    parts = {"what": _plain(body[: leads[0].start() if leads else len(body)].strip().split("\n\n")[0])}
    for lead, end in zip(leads, ends, strict=True):
        if _plain(body[lead.end() : end]).strip(" .:,"):
            parts[str(lead.lastgroup)] = _plain(body[lead.start() : end])
    return parts


def _plain(text: str) -> str:
    """One line: a link as its words, no bold, no emphasis, no bullets."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^- ", "", text, flags=re.MULTILINE).replace("**", "")
    text = re.sub(r"(?<![\w*`])\*(\S[^*`]*)\*(?![\w*])", r"\1", text)
    return " ".join(text.split())
