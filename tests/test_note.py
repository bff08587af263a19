"""The person's own words in an answer's text, and nothing else."""

from __future__ import annotations

import pytest

from itipd.mail.note import own_words
from tests.cost import cheap


@pytest.mark.parametrize(
    ("text", "subject", "expected"),
    [
        ("I will be five minutes late.\r\n", "Accepted: Lunch", "I will be five minutes late."),
        ("Gerne!\r\n\r\nBis dann\r\nBob\r\n", "Zugesagt: Treffen", "Gerne!\n\nBis dann\nBob"),
        (
            "I accepted the invitation, but bring a chair.",
            "Accepted: Lunch",
            "I accepted the invitation, but bring a chair.",
        ),
        ("See you.\n\nSent from my iPhone", "Accepted: Lunch", "See you."),
        ("Passt.\n\nVon meinem iPad gesendet\n", "Zugesagt: Treffen", "Passt."),
        ("Fine.\n-- \nBob Builder\nExample Ltd", "Accepted: Lunch", "Fine."),
        ("Yes.\n\n-----Original Appointment-----\nFrom: A <a@example.com>\nWhen: now", "Accepted: Lunch", "Yes."),
        ("Ja.\n________________________________\nVon: A\n", "Zugesagt: Treffen", "Ja."),
        ("Ok\n\nFrom: A <a@example.com>\nSent: today\n", "Accepted: Lunch", "Ok"),
        ("Ok\n\nOn Tue, 1 Dec 2026 at 10:00, A <a@example.com> wrote:\n> Come!", "Accepted: Lunch", "Ok"),
        ("Ok\n\nAm 01.12.2026 um 10:00 schrieb A\n<a@example.com>:\n> Come!", "Accepted: Lunch", "Ok"),
        ("> Come!\n\nNo way.", "Declined: Lunch", "No way."),
        ("Late.\n\nThis e-mail and any attachments are confidential.", "Accepted: Lunch", "Late."),
        (
            'Bob has accepted this invitation with a note:\n\n"bring cake"\n\nLunch\nTue',
            "Accepted: Lunch",
            "bring cake",
        ),
        ("Sorry, ill.\n\nBob has declined this invitation.\n\nLunch\nTue 10:00", "Declined: Lunch", "Sorry, ill."),
    ],
)
def test_own_words_are_kept(text: str, subject: str, expected: str) -> None:
    """What the person wrote is kept; signature, device, quote, disclaimer and the client's sentence fall away."""
    assert own_words(text, subject) == expected


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (
            "Bob has accepted your iCal event invitation to the event: New  \nEvent, scheduled for August.",
            "Event accepted: X",
        ),
        (
            "Bob has accepted this invitation.\n\nLunch\nTuesday 10am\n\nInvitation from Google Calendar",
            "Accepted: Lunch @ Tue",
        ),
        (
            "b@example.com has accepted the invitation to the following event:\r\n\r\n*Lunch*\r\n\r\nWhen: x",
            "Accepted: Lunch",
        ),
        ("Bob Example hat Ihre Einladung zu „Treffen“ angenommen.", "Zugesagt: Treffen"),
        ("Bob a accepté votre invitation à l’événement Réunion", "Accepté : Réunion"),
        ("Bob <b@example.com> has tentatively accepted Lunch.", "Tentative: Lunch"),
        ("Accepted: Lunch", "Accepted: Lunch"),
        ("Lunch", "Accepted: Lunch"),
        ("Yes, I will attend.", "Accept: Lunch"),
        ("\r\n \r\n\u200b", "Accepted: Lunch"),
        ("> quoted only", "Accepted: Lunch"),
        ("", ""),
    ],
)
def test_a_clients_words_are_no_note(text: str, subject: str) -> None:
    """A text that only the client wrote gives no note."""
    assert own_words(text, subject) is None


def test_a_note_is_cut_and_clean() -> None:
    """At most 2,000 characters, without controls."""
    found = own_words("a\x00b" * 5000, "Accepted: Lunch")
    assert found is not None
    assert (len(found), found[:4]) == (2000, "abab")


@pytest.mark.parametrize(
    "unit", ["> ", "- ", "--", "*~", "a:", "on ", "on a wrote", "this ", "sent from ", "\n", "note: ", "accept "]
)
def test_hostile_text_costs_milliseconds(unit: str) -> None:
    """16 kB of the worst text cost a few milliseconds at most."""
    assert cheap(0.2, lambda: own_words(unit * (16_384 // len(unit)), "a: b " * 200))
