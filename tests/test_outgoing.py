"""What Outlook, Exchange, Google and Apple need of a mail and its calendar, each with a test of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from itipd.itip import organize
from itipd.itip.model import (
    Proposal,
    Proposed,
)
from tests.cli_help import Itipd, event
from tests.interop import calendar_of
from tests.meetings import BEA, CARL, FORMS, NOW, ORGANIZER, SERIES, after, mails, only, put, unfolded
from tests.test_compose import read


def parts(message: EmailMessage) -> list[EmailMessage]:
    """The parts of a multipart."""
    found = list(message.iter_parts())
    assert all(isinstance(part, EmailMessage) for part in found)
    return cast("list[EmailMessage]", found)


ALL_METHODS = ("REQUEST", "CANCEL", "DECLINECOUNTER")


def sent(method: str, text: str = FORMS["single"]) -> bytes:
    """The mail to Bea with this METHOD."""
    meeting, decision = put(text)
    if method == "CANCEL":
        decision = organize.cancel(meeting, NOW)
    elif method == "DECLINECOUNTER":
        decision = organize.decline(meeting, Proposal(1, BEA, "", Proposed(location="Room 5")))
    (raw,) = mails(after(meeting, decision), decision)[BEA]
    return raw


@pytest.mark.parametrize("method", ALL_METHODS)
def test_the_mail_around_it(method: str) -> None:
    """Exchange's Content-Class; the calendar as the last alternative, its method that of the calendar, in base64."""
    raw = sent(method)
    message = read(raw)
    assert message["Content-Class"] == "urn:content-classes:calendarmessage"
    assert message["From"] == f"Ada Meier <{ORGANIZER}>"
    assert message["To"] == BEA
    alternative, attachment = parts(message)
    assert [part.get_content_type() for part in parts(alternative)] == ["text/plain", "text/html", "text/calendar"]
    calendar = parts(alternative)[-1]
    assert calendar.get_param("method") == method
    assert calendar.get_content_charset() == "utf-8"
    assert calendar["Content-Transfer-Encoding"] == "base64"
    assert (attachment.get_content_type(), attachment.get_filename()) == ("application/ics", "invite.ics")
    assert attachment.get_payload(decode=True) == calendar_of(raw)
    assert unfolded(calendar_of(raw)).count(f"METHOD:{method}") == 1


def test_a_mail_for_each_recipient() -> None:
    """Everybody gets a mail of their own, all with the same calendar; the organizer, who is a guest too, gets none."""
    text = FORMS["single"].replace("STATUS", f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{ORGANIZER}\nSTATUS")
    meeting, decision = put(text)
    found = mails(meeting, decision)
    assert {name: [read(raw)["To"] for raw in raws] for name, raws in found.items()} == {BEA: [BEA], CARL: [CARL]}
    assert only(found[BEA]) == only(found[CARL])
    assert f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{ORGANIZER}" in unfolded(only(found[BEA]))


@pytest.mark.parametrize("method", ALL_METHODS)
def test_what_is_always_there(method: str) -> None:
    """UID, SEQUENCE, DTSTAMP, CREATED and LAST-MODIFIED stand in every component, whatever the application wrote."""
    lines = unfolded(calendar_of(sent(method)))
    stamp = "20261120T080000Z"
    for line in (f"DTSTAMP:{stamp}", f"CREATED:{stamp}", f"LAST-MODIFIED:{stamp}", "UID:interop-1@example.com"):
        assert lines.count(line) == 1, line
    assert f"SEQUENCE:{1 if method == 'CANCEL' else 0}" in lines
    assert [line for line in lines if line.startswith("ORGANIZER")] == [f"ORGANIZER;CN=Ada Meier:mailto:{ORGANIZER}"]


def test_the_applications_own_times_stay() -> None:
    """CREATED and LAST-MODIFIED are the application's where it writes them; DTSTAMP is when we write."""
    given = ("CREATED:20200101T000000Z", "LAST-MODIFIED:20261118T000000Z")
    lines = unfolded(calendar_of(sent("REQUEST", FORMS["single"].replace("STATUS", "\n".join((*given, "STATUS"))))))
    assert set(given) <= set(lines)
    assert "DTSTAMP:20261120T080000Z" in lines


def test_the_organizer_has_a_name() -> None:
    """An ORGANIZER without CN gets one, and what is between the application and its server stays there."""
    text = FORMS["single"].replace("ORGANIZER;CN=Ada Meier:", "ORGANIZER;SCHEDULE-AGENT=SERVER;LANGUAGE=de:")
    (line,) = (line for line in unfolded(calendar_of(sent("REQUEST", text))) if line.startswith("ORGANIZER"))
    assert re.search(r';CN="?meetings@example\.com"?[:;]', line)
    assert ";LANGUAGE=de" in line
    assert "SCHEDULE-AGENT" not in line  # RFC 6638 §7.1


CARRIED = (
    "X-ALT-DESC;FMTTYPE=text/html:<html><body><b>Größe</b>\\, eine Zeile\\n, die gefaltet wird</body></html>",
    "DESCRIPTION:First line\\nsecond\\, line",
    "PRIORITY:1",
    "CLASS:PRIVATE",
    "TRANSP:TRANSPARENT",
    "ATTACH;FMTTYPE=application/pdf;FILENAME=agenda.pdf:https://files.example.com/agenda.pdf?a=1;b=2",
    "ATTACH;VALUE=BINARY;ENCODING=BASE64;FMTTYPE=text/plain:" + "SGFsbG8gV2VsdA" * 40,
    "CATEGORIES:Planning,Room 4",
    "URL:https://example.com/plan",
    "GEO:52.52;13.405",
    "CONFERENCE;VALUE=URI;FEATURE=VIDEO;LABEL=Join:https://meet.example.com/abc",
    "X-MICROSOFT-CDO-BUSYSTATUS:BUSY",
    "X-MICROSOFT-CDO-INTENDEDSTATUS:BUSY",
    "X-MICROSOFT-CDO-ALLDAYEVENT:FALSE",
    "X-MICROSOFT-CDO-IMPORTANCE:2",
    "X-MICROSOFT-CDO-INSTTYPE:0",
    "X-MICROSOFT-DISALLOW-COUNTER:TRUE",
    "X-MS-OLK-CONFTYPE:0",
    'X-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-ADDRESS="Hill 1, 10115";X-TITLE=Room 4:geo:52.52,13.405',
    "X-GOOGLE-CONFERENCE:https://meet.example.com/abc",
)


@pytest.mark.parametrize("line", CARRIED)
def test_carried_through(line: str) -> None:
    """What the application wrote for other programs reaches them as it is: in the invitation and in each update."""
    text = FORMS["single"].replace("STATUS:", f"{line}\nSTATUS:")
    meeting, decision = put(text)
    assert unfolded(only(mails(meeting, decision)[BEA])).count(line) == 1
    meeting, decision = put(later(text), meeting)
    assert unfolded(only(mails(meeting, decision)[BEA])).count(line) == 1


def later(text: str) -> str:
    """The same, an hour later."""
    return text.replace("T110000", "T120000").replace("T100000", "T110000")


def test_alarms() -> None:
    """VALARMs go out with a REQUEST, with their own ATTENDEE, and with no other method (RFC 5546 §3.2.5, §3.2.8)."""
    alarm = ["BEGIN:VALARM", "ACTION:EMAIL", "ATTENDEE:mailto:alarm@example.com", "TRIGGER:-PT15M", "SUMMARY:soon"]
    alarm += ["DESCRIPTION:soon", "END:VALARM"]
    text = FORMS["single"].replace("END:VEVENT", "\n".join([*alarm, "END:VEVENT"]))
    lines = unfolded(calendar_of(sent("REQUEST", text)))
    at = lines.index("BEGIN:VALARM")
    assert lines[at : at + len(alarm)] == alarm
    for method in ("CANCEL", "DECLINECOUNTER"):
        assert "BEGIN:VALARM" not in unfolded(calendar_of(sent(method, text)))


def test_what_outlook_believes_before_sequence() -> None:
    """Outlook takes Microsoft's properties before SEQUENCE and DTSTAMP ([MS-OXCICAL] 2.1.3.1.1.20): they rise too."""
    given = ("X-MICROSOFT-CDO-APPT-SEQUENCE:0", "X-MICROSOFT-CDO-OWNER-CRITICAL-CHANGE:20261119T120000Z")
    text = FORMS["single"].replace("STATUS:", "\n".join((*given, "STATUS:")))
    meeting, _ = put(text)
    meeting, decision = put(later(text), meeting)
    lines = unfolded(only(mails(meeting, decision)[BEA]))
    assert "SEQUENCE:1" in lines
    assert "X-MICROSOFT-CDO-APPT-SEQUENCE:1" in lines
    critical = [line for line in lines if "CRITICAL-CHANGE" in line]
    assert critical in ([], ["X-MICROSOFT-CDO-OWNER-CRITICAL-CHANGE:20261120T080000Z"])


@pytest.mark.parametrize("form", FORMS)
def test_lines(form: str) -> None:
    """Lines end with CRLF and have at most 75 octets, none of them broken inside a letter (RFC 5545 §3.1)."""
    meeting, decision = put(FORMS[form])
    data = only(mails(meeting, decision)[BEA])
    assert data.endswith(b"END:VCALENDAR\r\n")
    for line in data.split(b"\r\n"):
        assert len(line) <= 75
        assert b"\n" not in line
        line.decode()


def test_the_answers_of_now() -> None:
    """Everybody sees who has answered, and is asked for an answer (RFC 5546 §3.2.2)."""
    meeting, _ = put(FORMS["single"])
    row = meeting.attendees["", BEA]
    meeting = replace(meeting, attendees={**meeting.attendees, ("", BEA): replace(row, partstat="TENTATIVE")})
    decision = organize.remind(meeting, NOW)
    found = mails(after(meeting, decision), decision)
    assert set(found) == {CARL}
    lines = unfolded(only(found[CARL]))
    (bea,) = (line for line in lines if line.startswith("ATTENDEE") and line.endswith(BEA))
    (carl,) = (line for line in lines if line.startswith("ATTENDEE") and line.endswith(CARL))
    assert ";PARTSTAT=TENTATIVE" in bea
    assert ";PARTSTAT=NEEDS-ACTION" in carl
    assert ";RSVP=TRUE" in carl


def test_again_is_the_same() -> None:
    """The same decision gives the same bytes: a retry is no second mail."""
    meeting, decision = put(SERIES)
    assert mails(meeting, decision) == mails(meeting, decision)


def test_the_configured_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `[texts] language` says is the language of the mail that leaves."""
    monkeypatch.chdir(tmp_path)
    itipd = Itipd(tmp_path)
    itipd.write("itipd.toml", '[texts]\nlanguage = "de-AT"\n[relay]\ndirectory = "outgoing"\n')
    itipd.put(event("a@example.com", start="20991201T090000Z"), options=("-c", "itipd.toml"))
    assert itipd("-c", "itipd.toml", "outbox", "flush", "--deliver", "--json").json["sent"] == 2
    subjects = {read(file.read_bytes())["Subject"] for file in (tmp_path / "outgoing").glob("*.eml")}
    assert subjects == {"Einladung: Planning"}
