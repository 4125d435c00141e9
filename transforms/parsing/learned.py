"""What records have shown of their writers."""

from __future__ import annotations

from dataclasses import dataclass, field

from telebeam.transforms.parsing.layouts import Layout
from telebeam.transforms.parsing.templates import Template

_MAX_TEMPLATES = 64
"""Templates that are held against a batch, at most two an outline; what matches none of so many is read singly."""
_MAX_LAYOUTS = 64


@dataclass
class Learned:
    """Templates and layouts of the JSON that was read; they make reading fast, and change nothing of what is read."""

    templates: list[Template] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    _used: set[int] = field(default_factory=set)

    @property
    def full(self) -> bool:
        """Whether there is no room for templates."""
        return len(self.templates) >= _MAX_TEMPLATES

    def learn(self, layouts: list[Layout]) -> list[Layout]:
        """Adds layouts, the first ones if there is no room for all; returns those that it added."""
        added = layouts[: _MAX_LAYOUTS - len(self.layouts)]
        self.layouts += added
        self._used.update(map(id, added))
        return added

    def use(self, one: Template | Layout) -> None:
        """Says that some record has it."""
        self._used.add(id(one))

    def make_room(self) -> None:
        """Forgets half of what there may be of each; what was used since the last time stays first."""
        self.templates.sort(key=self._unused)
        self.layouts.sort(key=self._unused)
        del self.templates[_MAX_TEMPLATES // 2 :], self.layouts[_MAX_LAYOUTS // 2 :]
        self._used.clear()

    def _unused(self, one: Template | Layout) -> bool:
        return id(one) not in self._used
