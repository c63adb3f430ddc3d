"""What the API's routes share: the desk, who acts, and bodies that take no unknown field."""

from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import BaseModel, ConfigDict

from vpp.entrypoints.operations.desk import Desk


def _desk(request: Request) -> Desk:
    desk = request.app.state.desk()
    assert isinstance(desk, Desk)
    return desk


def _actor(x_vpp_actor: Annotated[str, Header(max_length=80)] = "api") -> str:
    return x_vpp_actor


AtDesk = Annotated[Desk, Depends(_desk)]
Actor = Annotated[str, Depends(_actor)]


class Body(BaseModel):
    """A JSON object whose every field is known."""

    model_config = ConfigDict(extra="forbid")
