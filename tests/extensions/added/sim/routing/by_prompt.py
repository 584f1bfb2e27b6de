"""Routing by the length of the prompt."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from sim.records import Backend
from sim.routing.router import Router
from sim.views import SystemView
from sim.work import Request


class ByPrompt(Router):
    """Long prompts go to the API."""

    kind: Literal["by_prompt"] = "by_prompt"
    needs_fleet: ClassVar[bool] = True
    needs_api: ClassVar[bool] = True
    api_above_input_tokens: int = Field(ge=0)

    def choose(self, request: Request, view: SystemView) -> Backend:
        return Backend.API if request.input_tokens > self.api_above_input_tokens else Backend.FLEET
