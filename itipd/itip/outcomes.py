"""The closed lists of words for what was decided: outcomes (RFC 9671's words and `held`) and reasons.

Log, database, API, page, `itipd explain` and golden files use these words and no others.
"""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one component of a mail or of one organizer's command (RFC 9671; `held` is ours)."""

    UPDATED = "updated"
    ADDED = "added"
    CANCELLED = "cancelled"
    NO_ACTION = "no_action"
    ERROR = "error"
    HELD = "held"


class Reason(StrEnum):
    """Why it was decided so: a word, one sentence, and the section that says it."""

    sentence: str
    section: str

    def __new__(cls, word: str, sentence: str, section: str) -> Reason:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.sentence = sentence
        reason.section = section
        return reason

    # -- an attendee's message was applied
    REPLIED = "replied", "The answer is newer than what was known and has been stored.", "RFC 5546 §3.2.3"
    PROPOSAL = "proposal", "A counter proposal has been stored for the organizer.", "RFC 5546 §3.2.7"
    BOUNCED = "bounced", "A delivery report set the attendee's SCHEDULE-STATUS.", "RFC 6638 §3.2.9"

    # -- a person decides
    UNKNOWN_MEETING = "unknown_meeting", "No meeting with this UID is registered yet.", "RFC 5546 §2.1.5"
    SENDER_UNPROVEN = "sender_unproven", "Nothing proves that the mail comes from this attendee.", "RFC 6047 §2.2.1"
    PARTY_CRASHER = "party_crasher", "The answer comes from somebody who was never invited.", "RFC 5546 §3.2.3"

    # -- nothing changes
    ORGANIZER_MISMATCH = "organizer_mismatch", "The message names another organizer.", "RFC 5546 §2.1.1"
    OTHER_ORGANIZER = "other_organizer", "Another recipient of this mail owns the meeting.", "RFC 5546 §2.1.1"
    UNKNOWN_INSTANCE = "unknown_instance", "The meeting has no instance at this RECURRENCE-ID.", "RFC 5545 §3.8.4.4"
    CANCELLED = "cancelled", "The meeting or this instance of it is cancelled.", "RFC 5546 §3.2.5"
    UNINVITED = "uninvited", "This attendee was taken off the guest list.", "RFC 5546 §3.2.5"
    STALE_SEQUENCE = "stale_sequence", "The message is about a revision from before the last reset.", "RFC 5546 §2.1.5"
    OUT_OF_ORDER = "out_of_order", "A later answer of this attendee has already been applied.", "RFC 5546 §2.1.5"
    DUPLICATE = "duplicate", "This very answer has already been applied.", "RFC 5546 §2.1.5"
    DELEGATION_REFUSED = "delegation_refused", "The delegation is forbidden, too deep or a loop.", "RFC 5546 §3.2.2.3"
    REFRESH = "refresh", "The attendee asked for the current state and is sent it.", "RFC 5546 §3.2.6"
    NOT_FOR_ORGANIZER = "not_for_organizer", "This method is none that an attendee sends an organizer.", "RFC 5546 §3.2"
    NOT_CALENDAR = "not_calendar", "The mail has no calendar part.", "RFC 6047 §2.4"
    NO_METHOD = "no_method", "Neither the calendar nor its MIME part names a METHOD.", "RFC 6047 §2.4"
    UNKNOWN_REPORT = "unknown_report", "The delivery report is about no mail and no attendee of ours.", "RFC 3464 §2.3"
    FREEBUSY = "freebusy", "Somebody asked for the organizer's busy time and is sent it.", "RFC 5546 §3.3.3"
    OWN_MAIL = "own_mail", "The mail comes from one of our own organizer addresses.", "RFC 3834 §2"

    # -- the mail's or the file's fault
    NO_UID = "no_uid", "The component has no UID.", "RFC 5545 §3.8.4.7"
    NO_ATTENDEE = "no_attendee", "The message names no ATTENDEE whose answer it could be.", "RFC 5546 §3.2.3"
    NO_PARTSTAT = "no_partstat", "The reply has no PARTSTAT, or one that is none.", "RFC 5545 §3.2.12"
    MALFORMED = "malformed", "The calendar cannot be read.", "RFC 5545 §3.4"
    TOO_LARGE = "too_large", "A calendar, or the whole mail, is larger than is read.", "RFC 5321 §4.5.3.1"
    TOO_MANY_HEADERS = "too_many_headers", "A header block has more bytes or fields than are read.", "RFC 5322 §2.1.1"
    TOO_MANY_PARTS = "too_many_parts", "The mail has more parts than are looked at.", "RFC 2046 §5.1"
    NESTED_TOO_DEEP = "nested_too_deep", "Parts or components are nested deeper than is followed.", "RFC 2046 §5.1"
    TOO_MANY_COMPONENTS = "too_many_components", "The mail has more components than are decided.", "RFC 5545 §3.6"
    TOO_MANY_PROPERTIES = "too_many_properties", "The calendar has more lines than are read.", "RFC 5545 §3.5"
    LINE_TOO_LONG = "line_too_long", "A line of the calendar is longer than is read.", "RFC 5545 §3.1"
    TOO_MANY_ATTENDEES = "too_many_attendees", "The message names more ATTENDEEs than are read.", "RFC 5546 §3.2.3"
    RULE_TOO_COSTLY = "rule_too_costly", "Following the recurrence rule takes too many steps.", "RFC 5545 §3.3.10"
    TOO_COSTLY = "too_costly", "Reading the mail took longer or more memory than allowed.", "RFC 5545 §7"
    NO_ORGANIZER = "no_organizer", "The organizer's calendar has no ORGANIZER.", "RFC 5546 §3.2.2"
    FOREIGN_ORGANIZER = "foreign_organizer", "The ORGANIZER is none that is served here.", "RFC 5546 §2.1.1"
    DUPLICATE_INSTANCE = "duplicate_instance", "The same instance stands in the file twice.", "RFC 5545 §3.8.4.4"
    MIXED_COMPONENTS = "mixed_components", "VEVENT and VTODO share one UID.", "RFC 5546 §2.1.5"

    # -- the organizer's own change
    REGISTERED = "registered", "The meeting is new and is now answered for.", "RFC 5546 §3.2.2"
    SIGNIFICANT_CHANGE = "significant_change", "Time, rule or status changed: SEQUENCE rose.", "RFC 5546 §2.1.4"
    MINOR_CHANGE = "minor_change", "Texts or guests changed; answers and SEQUENCE stay.", "RFC 5546 §2.1.4"
    UNCHANGED = "unchanged", "Nothing changed that anybody would see.", "RFC 5546 §2.1.4"
    OLD_REVISION = "old_revision", "The file is an older revision than the stored one.", "RFC 5546 §2.1.5"
    PROPOSAL_ACCEPTED = "proposal_accepted", "The meeting takes the proposal.", "RFC 5546 §3.2.7"
    PROPOSAL_DECLINED = "proposal_declined", "The proposal is declined.", "RFC 5546 §3.2.8"
    REMINDED = "reminded", "Those who have not answered are asked again.", "RFC 5546 §3.2.2.7"
    POLICY_CHANGED = "policy_changed", "The meeting has words of its own for what is policy.", "RFC 5546 §3.2.3"
    BAD_POLICY = "bad_policy", "There is no such word of policy, or no such value of it.", "RFC 5546 §3.2.3"
    REJECTED = "rejected", "A person refused what was held.", "RFC 5546 §3.2.3"
    NOT_FOUND = "not_found", "There is no such meeting, instance, attendee or proposal.", "RFC 5546 §2.1.5"

    # -- what a meeting does by itself
    ALL_DECLINED = "all_declined", "Everybody who counts has declined: the meeting is cancelled.", "RFC 5546 §3.2.5"
    TOO_FEW_ACCEPTED = "too_few_accepted", "Too few had accepted at the deadline: it is cancelled.", "RFC 5546 §3.2.5"
    ENOUGH_ACCEPTED = "enough_accepted", "Enough had accepted at the deadline: the meeting stays.", "RFC 5546 §3.2.5"
    ANSWERS_PUBLISHED = "answers_published", "Everybody is sent the answers of now.", "RFC 5546 §3.2.2.2"
