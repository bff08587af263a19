"""Every error of the HTTP door as application/problem+json (RFC 9457), from one closed list.

A detail is a text of our own, never an exception's: those may quote mail, paths or the database's address.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from starlette.responses import Response


class Kind(StrEnum):
    """What can go wrong: the last word of the problem's `type`, its HTTP status and its title."""

    status: int
    says: str

    def __new__(cls, word: str, status: int, says: str) -> Kind:
        kind = str.__new__(cls, word)
        kind._value_ = word
        kind.status = status
        kind.says = says
        return kind

    BAD_REQUEST = "bad_request", 400, "The request cannot be understood"
    BAD_PARAMETER = "bad_parameter", 400, "A parameter is not what it should be"
    BAD_CURSOR = "bad_cursor", 400, "The cursor comes from no page of this list"
    EMPTY_MAIL = "empty_mail", 400, "The request has no mail in it"
    NO_RECIPIENT = "no_recipient", 400, "Nobody is named to receive the mail"
    UNAUTHORIZED = "unauthorized", 401, "The token is missing or wrong"
    CROSS_SITE = "cross_site", 403, "Another site must not change anything here"
    NOT_FOUND = "not_found", 404, "There is nothing at this address"
    UNKNOWN_MEETING = "unknown_meeting", 404, "There is no such meeting"
    UNKNOWN_MAIL = "unknown_mail", 404, "There is no such mail"
    UNKNOWN_PROPOSAL = "unknown_proposal", 404, "There is no such proposal"
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "This method is not offered here"
    NOT_ACCEPTABLE = "not_acceptable", 406, "None of the accepted media types is offered"
    TOO_SLOW = "too_slow", 408, "The request took too long to arrive"
    PROPOSAL_CLOSED = "proposal_closed", 409, "The proposal is no longer open"
    TOO_LARGE = "too_large", 413, "The mail is larger than allowed"
    WRONG_HOST = "wrong_host", 421, "This server does not answer to that name"
    INTERNAL = "internal", 500, "Something went wrong on our side"
    UNAVAILABLE = "unavailable", 503, "Try again later"


class Problem(Exception):  # noqa: N818 the RFC's word
    """An error to be answered: its kind, what was found and expected, and members of its own (RFC 9457 §3.2)."""

    def __init__(
        self, kind: Kind, detail: str = "", *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    def body(self) -> dict[str, Any]:
        """The JSON object. `type` is a name, not a page: it resolves nowhere (RFC 9457 §3.1.1)."""
        found = {"type": f"urn:itipd:problem:{self.kind}", "title": self.kind.says, "status": self.kind.status}
        if self.detail:
            found["detail"] = self.detail
        return found | self.members

    def response(self) -> Response:
        """The answer, never to be cached."""
        return Response(
            json.dumps(self.body()),
            status_code=self.kind.status,
            media_type="application/problem+json",
            headers={"Cache-Control": "no-store"} | self.headers,
        )


def of_status(status: int) -> Kind:
    """The kind that says no more than an HTTP status does."""
    plain = {404: Kind.NOT_FOUND, 405: Kind.METHOD_NOT_ALLOWED, 413: Kind.TOO_LARGE, 503: Kind.UNAVAILABLE}
    return plain.get(status, Kind.BAD_REQUEST if status < 500 else Kind.INTERNAL)
