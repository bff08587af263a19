"""Who answered, and what proves it (RFC 6047 §2.2.1 and §2.3, RFC 5546 §2.2.1).

The attendee is the ATTENDEE property; the mail's From is only evidence. Pure.
"""

from __future__ import annotations

from itipd.itip.addresses import canonical, domain, strip_tag
from itipd.itip.model import CalAddress, Evidence, Meeting, Message, Policy


def alias_of(address: str, policy: Policy) -> str:
    """The address that the configured aliases give for this one, or itself."""
    return policy.aliases.get(address, address)


def names(line: CalAddress, policy: Policy) -> tuple[str, ...]:
    """The addresses under which this ATTENDEE may be known, best first: its own, its alias, EMAIL, without the tag."""
    if not policy.aliases and "EMAIL" not in line.params and "+" not in line.address:
        return (line.address,)  # nearly always, and each mail is asked three times
    found = [line.address, alias_of(line.address, policy)]
    written = line.one("EMAIL")  # RFC 7986 §6.2
    email = canonical(written) if written else None
    if email:
        found += [email, alias_of(email, policy)]
    if policy.plus_tag:
        found += [strip_tag(name) for name in list(found)]
    return tuple(dict.fromkeys(found))


def wanted(message: Message, sender: Evidence, policy: Policy) -> frozenset[str]:
    """Every address whose rows a decision about this message can need; `kim+*`: whatever tag kim's address has."""
    found: set[str] = set()
    for line in message.attendees:
        found.update(names(line, policy))
        for name in ("DELEGATED-TO", "DELEGATED-FROM", "MEMBER"):
            found.update(related(line, name, policy))
    if policy.plus_tag:
        found |= {f"{address.partition('@')[0]}+*" for address in found if "+" not in address}
    return frozenset(found)


def related(line: CalAddress, parameter: str, policy: Policy) -> tuple[str, ...]:
    """The canonical addresses in DELEGATED-TO, DELEGATED-FROM, MEMBER or SENT-BY."""
    written = line.params.get(parameter)
    if not written:  # nearly always, and each mail is asked ten times
        return ()
    found = map(canonical, written)
    return tuple(alias_of(address, policy) for address in found if address)


def known_as(line: CalAddress, meeting: Meeting, policy: Policy) -> str | None:
    """The address under which this ATTENDEE has rows in the meeting; None where there are none."""
    rows = {address for _, address in meeting.attendees}
    mine = names(line, policy)
    found = next((name for name in mine if name in rows), None)
    if found is None and policy.plus_tag:
        found = next((row for row in sorted(rows) if strip_tag(row) in mine), None)
    return found


def is_organizer(address: str, meeting: Meeting, policy: Policy) -> bool:
    """The address is the meeting's organizer, by an alias or by one of our own tagged return paths."""
    return meeting.organizer in (address, alias_of(address, policy), strip_tag(address))


def same_person(address: str, line: CalAddress, policy: Policy) -> bool:
    """The address is this ATTENDEE's own, by alias, EMAIL or SENT-BY (RFC 5545 §3.2.18)."""
    mine = set(names(line, policy)) | set(related(line, "SENT-BY", policy))
    mine |= {alias_of(name, policy) for name in mine}
    theirs = {address, alias_of(address, policy)}
    if policy.plus_tag:
        theirs |= {strip_tag(name) for name in theirs}
    return bool(mine & theirs)


def proven(line: CalAddress, attendee: str, sender: Evidence, policy: Policy) -> bool:
    """The evidence is as strong as policy `sender` asks for (RFC 6047 §2.2.1: a MUST).

    `attendee`: the address under which the meeting knows `line`. DMARC speaks only for the domain of From, so it proves
    an attendee only together with From itself, and one of another domain only by a configured alias.
    """
    if policy.sender == "any":
        return True
    if sender.token is not None:
        return sender.token == attendee  # somebody else's token refutes whatever else there is, and EMAIL is no proof
    if policy.sender == "token" or sender.from_address is None or sender.dmarc == "fail":
        return False
    if not same_person(sender.from_address, line, policy):
        return False
    if policy.sender == "dmarc":
        # EMAIL and SENT-BY are the mail's own words: with them anybody could pass for an attendee.
        aligned = alias_of(sender.from_address, policy) == attendee or domain(sender.from_address) == domain(attendee)
        return aligned and domain(sender.from_address) in sender.passed_domains
    return True


def answering(message: Message, meeting: Meeting, sender: Evidence, policy: Policy) -> CalAddress:
    """The one ATTENDEE whose answer this is: whom the sender proves, else the only one who is an attendee.

    A delegator's mail may list the delegate, a delegate's the delegator, and clients list the organizer too.
    """
    lines = [line for line in message.attendees if not is_organizer(line.address, meeting, policy)]
    lines = lines or list(message.attendees)
    if len(lines) == 1:
        return lines[0]
    if sender.token is not None:
        for line in lines:
            if sender.token in names(line, policy):
                return line
    if sender.from_address is not None:
        for line in lines:
            if same_person(sender.from_address, line, policy):
                return line
    guests = [line for line in lines if known_as(line, meeting, policy)]
    if len(guests) == 1:
        return guests[0]
    delegators = [line for line in guests if (line.one("PARTSTAT") or "").upper() == "DELEGATED"]
    return (delegators or guests or lines)[0]
