"""What we send is what other programs read: the same meeting, in each of its forms, by icalendar, vobject and libical.

And what Outlook, Exchange, Google and Apple need beside it (rules.md §10), each with a test of its own.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from email.message import Message
from io import StringIO

import icalendar
import pytest
import vobject  # type: ignore[import-untyped] # it has no types
from dateutil.tz import tzical
from icalendar.timezone import TZP

from itipd.itip import organize
from itipd.itip.contentlines import unescape
from itipd.itip.incoming import incoming
from itipd.itip.model import (
    Decision,
    DropAttendee,
    DropEvent,
    Meeting,
    Policy,
    Proposal,
    Proposed,
    PutAttendee,
    PutEvent,
    PutMeeting,
    PutProposal,
    Write,
)
from itipd.itip.timezones import resolve
from itipd.itip.vtimezone import vtimezone
from itipd.mail.compose import Outgoing, compose
from itipd.send import Origin, sendings
from itipd.store import Ref
from tests import libical
from tests.interop import READERS, Seen, calendar_of

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
ORGANIZER = "meetings@example.com"
BEA, CARL = "bea@example.org", "carl@example.net"
HILL = """BEGIN:VTIMEZONE
TZID:{tzid}
BEGIN:STANDARD
DTSTART:19701025T020000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZOFFSETFROM:+0530
TZOFFSETTO:+0430
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZOFFSETFROM:+0430
TZOFFSETTO:+0530
END:DAYLIGHT
END:VTIMEZONE
"""

needs_libical = pytest.mark.skipif(libical.library() is None, reason="libical.so.3 is not installed (Debian: libical3)")
readers = pytest.mark.parametrize(
    "reader", [pytest.param(name, marks=needs_libical if name == "libical" else ()) for name in READERS]
)


# -- from an application's calendar to mails, without a database


def component(*lines: str, kind: str = "VEVENT", guests: Iterable[str] = (BEA, CARL), uid: str = "interop-1") -> str:
    """A component as an application writes it, with organizer and guests."""
    head = [f"BEGIN:{kind}", f"UID:{uid}@example.com", "DTSTAMP:20261119T120000Z"]
    head += ["SUMMARY:Größe\\, Maß\\; 漢字\\nund mehr", f"ORGANIZER;CN=Ada Meier:mailto:{ORGANIZER}"]
    head += [f"ATTENDEE;CN={name};RSVP=TRUE;PARTSTAT=NEEDS-ACTION:mailto:{name}" for name in guests]
    return "".join(f"{line}\n" for line in (*head, *lines, f"END:{kind}"))


def put(text: str, meeting: Meeting | None = None) -> tuple[Meeting, Decision]:
    """The application's calendar laid over the meeting, and what was decided."""
    (one,) = incoming(f"BEGIN:VCALENDAR\nVERSION:2.0\n{text}END:VCALENDAR\n".encode())
    decision = organize.put(meeting, one, Policy(), NOW)
    assert decision.sends, decision
    return after(meeting, decision), decision


def after(meeting: Meeting | None, decision: Decision) -> Meeting:
    """The meeting after a decision, as the store would have it."""
    current = meeting or Meeting(ORGANIZER, decision.uid or "")
    events, attendees, proposals = dict(current.events), dict(current.attendees), dict(current.proposals)
    for write in decision.writes:
        _write(write, events, attendees, proposals)
        if isinstance(write, PutMeeting):
            current = write.meeting
    return replace(current, events=events, attendees=attendees, proposals=proposals)


def _write(write: Write, events: dict, attendees: dict, proposals: dict) -> None:  # type: ignore[type-arg]
    match write:
        case PutEvent(event):
            events[event.rid] = event
        case DropEvent(rid):
            events.pop(rid, None)
        case PutAttendee(row):
            attendees[row.rid, row.address] = row
        case DropAttendee(rid, address):
            attendees.pop((rid, address), None)
        case PutProposal(proposal):
            proposals[proposal.id] = proposal


def mails(meeting: Meeting, decision: Decision) -> dict[str, list[bytes]]:
    """Recipient -> the mails that the decision sends, as they leave."""
    origin = Origin(Ref(ORGANIZER), NOW, "7", b"s" * 32, "en")
    found: dict[str, list[bytes]] = {}
    for sending in sendings(meeting, decision, origin):
        for delivery in sending.deliveries:
            outgoing = Outgoing(
                organizer=sending.organizer,
                organizer_name=sending.organizer_name,
                uid=sending.uid,
                method=sending.method,
                rid=sending.rid,
                sequence=sending.sequence,
                reason=sending.reason,
                summary=sending.summary,
                calendar=sending.calendar,
                created_at=sending.created_at,
                recipient=delivery.recipient,
                message_id=delivery.message_id,
                automatic=sending.automatic,
                comment=sending.comment,
                line=delivery.line,
            )
            found.setdefault(delivery.recipient, []).append(compose(outgoing))
    return found


def only(raws: list[bytes]) -> bytes:
    """The calendar of the only mail."""
    (raw,) = raws
    return calendar_of(raw)


def decline(meeting: Meeting, rid: str = "") -> bytes:
    """The calendar of the DECLINECOUNTER for a proposal of Bea's."""
    decision = organize.decline(meeting, Proposal(1, BEA, rid, Proposed(location="Room 5")), "No, sorry")
    found = mails(after(meeting, decision), decision)
    assert list(found) == [BEA]
    return only(found[BEA])


# -- the forms of a meeting

SERIES = (
    component(
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
        "DTEND;TZID=Europe/Berlin:20261201T110000",
        "RRULE:FREQ=WEEKLY;COUNT=30",
        "RDATE;TZID=Europe/Berlin:20261203T100000",
        "EXDATE;TZID=Europe/Berlin:20261222T100000,20261229T100000",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "DESCRIPTION:soon",
        "TRIGGER:-PT15M",
        "END:VALARM",
    )
    + component(
        "RECURRENCE-ID;TZID=Europe/Berlin:20261208T100000",
        "DTSTART;TZID=Europe/Berlin:20261209T140000",
        "DTEND;TZID=Europe/Berlin:20261209T150000",
    )
    + component(
        "RECURRENCE-ID;TZID=Europe/Berlin:20270420T100000",  # in summer time
        "DTSTART;TZID=America/New_York:20270420T090000",
        "DTEND;TZID=America/New_York:20270420T100000",
        guests=(BEA,),
    )
)

FORMS = {
    "single": component(
        "DTSTART;TZID=Europe/Berlin:20261201T100000",
        "DTEND;TZID=Europe/Berlin:20261201T110000",
        "LOCATION:Room 4\\, floor 2",
        "STATUS:CONFIRMED",
    ),
    "utc": component("DTSTART:20261201T090000Z", "DURATION:PT90M", "STATUS:TENTATIVE"),
    "all-day": component("DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261227"),
    "floating": component("DTSTART:20261201T100000", "DTEND:20261201T110000"),
    "all-day series": component("DTSTART;VALUE=DATE:20261224", "RRULE:FREQ=YEARLY", "EXDATE;VALUE=DATE:20281224"),
    "windows": component(
        "DTSTART;TZID=W. Europe Standard Time:20270701T100000",
        "DTEND;TZID=W. Europe Standard Time:20270701T110000",
        "RRULE:FREQ=MONTHLY;BYDAY=1TH;UNTIL=20280101T090000Z",
    ),
    "own zone": HILL.format(tzid="Customized Time Zone 1")
    + component(
        'DTSTART;TZID="Customized Time Zone 1":20270701T100000', "DTEND;TZID=Customized Time Zone 1:20270701T110000"
    ),
    "zone with signs": HILL.format(tzid="Hill\\, North: 2")
    + component('DTSTART;TZID="Hill, North: 2":20261201T100000', 'DTEND;TZID="Hill, North: 2":20261201T110000'),
    "vendor's zone": component(
        "DTSTART;TZID=/freeassociation.sourceforge.net/Tzfile/Australia/Lord_Howe:20261201T100000", "DURATION:PT1H"
    ),
    "two zones": component(
        "DTSTART;TZID=Europe/Dublin:20270701T100000", "DTEND;TZID=America/Sao_Paulo:20270701T090000"
    ),
    "task": component(
        "DTSTART;TZID=Asia/Kolkata:20261201T100000", "DUE;TZID=Asia/Kolkata:20261204T180000", kind="VTODO"
    ),
    "task without start": component("DUE;VALUE=DATE:20261204", "PRIORITY:1", kind="VTODO"),
    "series": SERIES,
}

GUESTS = frozenset({(BEA, "NEEDS-ACTION"), (CARL, "NEEDS-ACTION")})
SUMMARY = "Größe, Maß; 漢字\nund mehr"


def seen(meeting: Meeting, key: str, **changes: object) -> Seen:
    """What a program should see of one component: the values that we ourselves read in the application's text."""
    event = meeting.events[key]
    timed = "DURATION:" not in event.lines
    assert event.summary == SUMMARY
    base = Seen(
        kind=event.component,
        uid="interop-1@example.com",
        rid=key or None,
        start=event.start.rid if event.start is not None else None,
        end=event.end.rid if timed and event.end is not None and re.search("DTEND|DUE", event.lines) else None,
        length=event.end.order - event.start.order if not timed and event.end and event.start else None,
        sequence=event.sequence,
        status=found[1] if (found := re.search(r"STATUS:(\w+)", event.lines)) else None,
        summary=event.summary,
        location=event.location,
        organizer=ORGANIZER,
        name="Ada Meier",
        attendees=GUESTS,
        rule=frozenset(event.rrules[0].split(";")) if event.rrules else frozenset(),
        rdates=frozenset(moment.rid for moment in event.rdates),
        exdates=frozenset(moment.rid for moment in event.exdates),
        alarms=event.lines.count("BEGIN:VALARM"),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


ONE = [
    pytest.param(form, reader, marks=needs_libical if reader == "libical" else ())
    for form in FORMS
    for reader in READERS
    if form != "series" and (form, reader) != ("zone with signs", "vobject")  # which leaves the escapes in a TZID
]


@pytest.mark.parametrize(("form", "reader"), ONE)
def test_request(form: str, reader: str) -> None:
    """A REQUEST is the meeting, instants and texts alike."""
    meeting, decision = put(FORMS[form])
    for raws in mails(meeting, decision).values():
        assert READERS[reader](only(raws)) == ("REQUEST", (seen(meeting, ""),))


@pytest.mark.parametrize(("form", "reader"), ONE)
def test_cancel(form: str, reader: str) -> None:
    """A CANCEL of the meeting is the same meeting with STATUS:CANCELLED and the next SEQUENCE."""
    meeting, _ = put(FORMS[form])
    decision = organize.cancel(meeting, NOW)
    found = mails(after(meeting, decision), decision)
    assert set(found) == {BEA, CARL}
    for raws in found.values():
        assert READERS[reader](only(raws)) == ("CANCEL", (seen(meeting, "", status="CANCELLED", sequence=1),))


@pytest.mark.parametrize(("form", "reader"), ONE)
def test_declinecounter(form: str, reader: str) -> None:
    """A DECLINECOUNTER is the meeting as it stays, with its SEQUENCE, the proposer and the comment."""
    meeting, _ = put(FORMS[form])
    nothing: frozenset[str] = frozenset()
    proposer = frozenset({(BEA, "NEEDS-ACTION")})
    expected = seen(meeting, "", comment="No, sorry", attendees=proposer, status=None, alarms=0)
    expected = replace(expected, rule=nothing, rdates=nothing, exdates=nothing)
    assert READERS[reader](decline(meeting)) == ("DECLINECOUNTER", (expected,))


MOVED, SUMMER = "20261208T090000Z", "20270420T080000Z"


@readers
def test_request_of_a_series(reader: str) -> None:
    """A series comes with its rule, its exceptions and the overrides that the recipient is invited to."""
    meeting, decision = put(SERIES)
    found = mails(meeting, decision)
    parts = seen(meeting, ""), seen(meeting, MOVED), seen(meeting, SUMMER, attendees=frozenset({(BEA, "NEEDS-ACTION")}))
    assert READERS[reader](only(found[BEA])) == ("REQUEST", parts)
    # Carl is no guest of the second one: an EXDATE takes it out of his series.
    series = replace(parts[0], exdates=parts[0].exdates | {SUMMER})
    assert READERS[reader](only(found[CARL])) == ("REQUEST", (series, parts[1]))


@readers
def test_cancel_of_instances(reader: str) -> None:
    """A cancelled instance carries its RECURRENCE-ID, its own time and the next SEQUENCE, and no rule."""
    meeting, _ = put(SERIES)
    decision = organize.cancel(meeting, NOW, rids=(MOVED, "20261215T090000Z"))
    after(meeting, decision)
    first, second = mails(after(meeting, decision), decision)[CARL]
    moved = seen(meeting, MOVED, status="CANCELLED", sequence=1, alarms=0)
    assert READERS[reader](calendar_of(first)) == ("CANCEL", (moved,))
    nothing: frozenset[str] = frozenset()
    start, end = "20261215T090000Z", "20261215T100000Z"
    derived = seen(meeting, "", rid=start, start=start, end=end, status="CANCELLED", sequence=1, alarms=0)
    derived = replace(derived, rule=nothing, rdates=nothing, exdates=nothing)
    assert READERS[reader](calendar_of(second)) == ("CANCEL", (derived,))


@readers
def test_cancelled_instances_stay_away(reader: str) -> None:
    """A later REQUEST of the series has an EXDATE for each cancelled instance, and not its override."""
    meeting, _ = put(SERIES)
    meeting = after(meeting, organize.cancel(meeting, NOW, rids=(MOVED, "20270406T080000Z")))
    decision = organize.remind(meeting, NOW)
    method, (master, *overrides) = READERS[reader](only(mails(after(meeting, decision), decision)[BEA]))
    out = {MOVED, "20270406T080000Z"}  # ten o'clock in winter and in summer
    assert method == "REQUEST"
    assert master == seen(meeting, "", exdates=seen(meeting, "").exdates | out)
    assert [one.rid for one in overrides] == [SUMMER]


@readers
def test_cancel_to_one_who_is_taken_off(reader: str) -> None:
    """Who is taken off the list gets a CANCEL without STATUS that names nobody else (RFC 5546 §3.2.5)."""
    meeting, _ = put(FORMS["single"])
    meeting, decision = put(FORMS["single"].replace(f"mailto:{CARL}", "mailto:dora@example.org"), meeting)
    expected = seen(meeting, "", status=None, sequence=1, attendees=frozenset({(CARL, "NEEDS-ACTION")}))
    assert READERS[reader](only(mails(meeting, decision)[CARL])) == ("CANCEL", (expected,))


@readers
def test_declinecounter_for_an_instance(reader: str) -> None:
    """A proposal about one instance is declined for that instance."""
    meeting, _ = put(SERIES)
    method, (found,) = READERS[reader](decline(meeting, "20261215T090000Z"))
    assert (method, found.rid, found.start, found.end) == (
        "DECLINECOUNTER",
        "20261215T090000Z",
        "20261215T090000Z",
        "20261215T100000Z",
    )
    assert found.sequence == meeting.sequence


# RFC 5546 §3.4.2 asks a to-do for a DTSTART, which many an application does not write and nobody can invent.
@needs_libical
@pytest.mark.parametrize("form", [name for name in FORMS if name != "task without start"])
def test_libical_finds_nothing_wrong(form: str) -> None:
    """REQUEST and CANCEL keep RFC 5545's grammar and RFC 5546's tables, by libical's word.

    Its table for DECLINECOUNTER is that of RFC 2446, which allowed less.
    """
    meeting, decision = put(FORMS[form])
    ended = organize.cancel(meeting, NOW)
    raws = [*mails(meeting, decision).values(), *mails(after(meeting, ended), ended).values()]
    assert len(raws) == 4
    for raw in raws:
        with libical.calendar(only(raw)) as calendar:
            assert calendar.errors() == []


# -- time zones

ZONES = (
    "Europe/Dublin",  # summer time is the standard, by law
    "Africa/Casablanca",  # follows the moon
    "America/Sao_Paulo",  # gave summer time up
    "Asia/Kolkata",  # half an hour, no changes
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Apia",  # left out a day
    "Europe/Berlin",
    "America/New_York",  # another rule before 2007
    "Asia/Gaza",  # changes every year, and follows the moon later
    "America/Nuuk",  # a change at a negative hour, a new offset in 2023
    "Antarctica/Troll",  # changes by two hours
    "Europe/Moscow",
)
WINDOWS = (
    "W. Europe Standard Time",
    "GMT Standard Time",
    "Eastern Standard Time",
    "Morocco Standard Time",
    "E. South America Standard Time",
    "India Standard Time",
    "Lord Howe Standard Time",
    "Samoa Standard Time",
    "AUS Eastern Standard Time",
    "Russian Standard Time",
)


def instants(zone: tzinfo, since: int) -> list[datetime]:
    """Instants up to 2045 (UTC, naive): every change of the zone, the second before it, and one every few days."""
    found, at, step = [], datetime(since, 1, 2), timedelta(hours=61)
    while at.year < 2046:
        found.append(at)
        low, high = at, at + step
        if offset(zone, low) != offset(zone, high):
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                middle = middle.replace(microsecond=0)
                low, high = (middle, high) if offset(zone, middle) == offset(zone, low) else (low, middle)
            found += [low, high]
        at += step
    return found


def offset(zone: tzinfo, instant: datetime) -> timedelta:
    found = instant.replace(tzinfo=UTC).astimezone(zone).utcoffset()
    assert found is not None
    return found


def python_zones(tzid: str, text: str) -> list[tzinfo]:
    """A VTIMEZONE as dateutil, icalendar and vobject evaluate it."""
    lines = text.replace("\n", "\r\n")
    by_dateutil = tzical(StringIO(lines)).get(tzid)
    by_icalendar = icalendar.Timezone.from_ical(lines.encode()).to_tz(TZP("zoneinfo"), lookup_tzid=False)
    by_vobject = vobject.readOne(f"BEGIN:VCALENDAR\r\n{lines}END:VCALENDAR\r\n").vtimezone.gettzinfo()
    return [by_dateutil, by_icalendar, by_vobject]


@pytest.mark.parametrize("since", [1995, 2026])
@pytest.mark.parametrize("tzid", [*ZONES, *WINDOWS])
def test_a_zone_is_what_python_reads(tzid: str, since: int) -> None:
    """Wall clocks of fifty years, read with the VTIMEZONE that we send, are the instants that zoneinfo gives."""
    zone, text = resolve(tzid, {}), vtimezone(tzid, since)
    assert zone is not None
    assert text is not None
    for other in python_zones(tzid, text):
        for instant in instants(zone, since)[:: 1 if since > 2000 else 3]:
            local = instant.replace(tzinfo=UTC).astimezone(zone)
            if local.utcoffset() == local.replace(fold=1 - local.fold).utcoffset():  # it is there once
                assert local.replace(tzinfo=other, fold=0).utcoffset() == local.utcoffset(), local


@needs_libical
@pytest.mark.parametrize("since", [1995, 2026])
@pytest.mark.parametrize("tzid", [*ZONES, *WINDOWS])
def test_a_zone_is_what_libical_reads(tzid: str, since: int) -> None:
    """At every instant of fifty years, to the second of each change, libical has the offset that zoneinfo gives."""
    zone, text = resolve(tzid, {}), vtimezone(tzid, since)
    assert zone is not None
    assert text is not None
    found = instants(zone, since)
    assert libical.offsets(text, found) == [offset(zone, instant) for instant in found]


@pytest.mark.parametrize("form", FORMS)
def test_a_definition_for_every_tzid(form: str) -> None:
    """Every TZID in use is defined once, and nothing else is (RFC 5545 §3.6.5)."""
    meeting, decision = put(FORMS[form])
    for raws in mails(meeting, decision).values():
        lines = unfolded(only(raws))
        used = {found[1].strip('"') for line in lines if (found := re.search(r';TZID=("[^"]*"|[^:;]*)', line))}
        defined = [unescape(line.removeprefix("TZID:")) for line in lines if line.startswith("TZID:")]
        assert sorted(defined) == sorted(used)


GUESSES = [
    ("Romance", "20260701T080000Z"),
    ("(GMT+01.00) Sarajevo/Warsaw/Zagreb", "20260701T090000Z"),
    ("UTC+5:30", "20260701T043000Z"),
]


@needs_libical
@pytest.mark.parametrize(("tzid", "instant"), GUESSES)
def test_a_tzid_that_is_only_a_hint(tzid: str, instant: str) -> None:
    """A TZID without a definition goes out with the one that we take it for: all read the same instant."""
    start = f'DTSTART;TZID="{tzid}":20260701T100000'
    meeting, decision = put(component(start.replace("2026", "2027"), "DURATION:PT1H"))
    _, (found,) = READERS["libical"](only(mails(meeting, decision)[BEA]))
    assert found.start == instant.replace("2026", "2027")
    assert meeting.events[""].start is not None
    assert meeting.events[""].start.rid == found.start


def test_a_hint_yields_to_the_calendars_own_definition() -> None:
    """Where the organizer's calendar defines such a name, its definition goes out."""
    tzid = "(GMT+01.00) Hill"
    meeting, decision = put(HILL.format(tzid=tzid) + component(f'DTSTART;TZID="{tzid}":20270701T100000'))
    text = only(mails(meeting, decision)[BEA]).decode()
    assert "TZOFFSETTO:+0530" in text
    assert text.count("BEGIN:VTIMEZONE") == 1


def test_a_value_before_the_start_is_covered() -> None:
    """The definition reaches back to the earliest value that is written with it."""
    text = component("DTSTART;TZID=America/New_York:20261201T100000", "RDATE;TZID=America/New_York:20030715T100000")
    meeting, decision = put(text)
    definition = only(mails(meeting, decision)[BEA]).decode().partition("BEGIN:VEVENT")[0]
    zone = tzical(StringIO("BEGIN:VTIMEZONE" + definition.partition("BEGIN:VTIMEZONE")[2])).get("America/New_York")
    assert datetime(2003, 7, 15, 10, tzinfo=zone).utcoffset() == timedelta(hours=-4)


# -- what Outlook, Exchange, Google and Apple need (rules.md §10)


def unfolded(data: bytes) -> list[str]:
    return data.decode().replace("\r\n ", "").split("\r\n")


def letters(raw: bytes) -> Message:
    return email.message_from_bytes(raw)


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
    message = letters(sent(method))
    assert message["Content-Class"] == "urn:content-classes:calendarmessage"
    assert message["From"] == f'"Ada Meier" <{ORGANIZER}>'
    assert message["To"] == BEA
    alternative, attachment = message.get_payload()  # type: ignore[misc] # multipart/mixed
    *_, calendar = alternative.get_payload()
    assert calendar.get_content_type() == "text/calendar"
    assert calendar.get_param("method") == method
    assert calendar.get_content_charset() == "utf-8"
    assert calendar["Content-Transfer-Encoding"] == "base64"
    assert attachment.get_content_type() == "application/ics"
    assert attachment.get_filename() == "invite.ics"
    assert f"METHOD:{method}" in unfolded(calendar.get_payload(decode=True))


def test_a_mail_for_each_recipient() -> None:
    """Everybody gets a mail of their own, all with the same calendar; the organizer, who is a guest too, gets none."""
    text = FORMS["single"].replace("STATUS", f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{ORGANIZER}\nSTATUS")
    meeting, decision = put(text)
    found = mails(meeting, decision)
    assert {name: [letters(raw)["To"] for raw in raws] for name, raws in found.items()} == {BEA: [BEA], CARL: [CARL]}
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
    "X-ALT-DESC;FMTTYPE=text/html:<html><body><b>Größe</b>\\, und eine Zeile\\n, die gefaltet werden muss</body></html>",
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
    """Outlook takes Microsoft's own properties before SEQUENCE and DTSTAMP ([MS-OXCICAL] 2.1.3.1.1.20.22): they rise too."""
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


def test_again_is_the_same() -> None:
    """The same decision gives the same bytes: a retry is no second mail."""
    meeting, decision = put(SERIES)
    assert mails(meeting, decision) == mails(meeting, decision)
