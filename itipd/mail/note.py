"""The person's own words in the text of an answer (rules.md §3: offered as COMMENT where the calendar has none).

Clients write a sentence of their own ("Bob has accepted this invitation"), repeat the event, quote the invitation, add
a signature or a disclaimer. All of that falls away; in doubt nothing is offered, because words that the person did not
write are worse than none. Linear in the text, at most 16 kB of it.
"""

from __future__ import annotations

import re

from itipd.itip.model import clean

LIMIT = 2000  # characters

# What a client says for its user, in the third person, and about what. English, German, French, Spanish, Italian,
# Portuguese, Dutch, Polish, the Nordic ones, Russian, Japanese, Chinese: stems are enough.
# Searched for one by one: that takes a tenth of the time of a pattern with so many branches.
_ANSWERED = tuple(
    "accept declin tentativ zugesagt angenommen abgelehnt abgesagt vorbehalt vorläufig refus rejet acept rechaz "
    "accettat rifiutat aceit recus geweigerd afgewezen afgeslagen zaakceptowa odrzuci avböj afvist afslå godta "
    "hyväksy hylä принял отклонил 承諾 辞退 承认 接受 拒绝 謝絶".split()
)
_INVITED = tuple(
    "invit event meeting appointment einladung termin besprechung vénement venement réunion convite convoca "
    "uitnodiging afspraak zaproszeni wydarzeni inbjudan indbydelse innkalling kutsu приглашени 招待 邀请 会議 "
    "会议".split()
)
_FIRST_PERSON = re.compile(r"(?:i|i'm|i’m|i've|we|my|our|ich|wir|je|j'ai|nous|yo|he|ik|jag|jeg|я|io|ho)\b")
_SUBJECT_PREFIX = re.compile(r"[^\s:]{2,24}(?: [^\s:]{1,16}){0,3}\s?:")
_WITH_NOTE = re.compile(r"\b(?:note|comment|notiz|kommentar|commentaire|nota|comentario)\s*:\s*$")
_DEFAULTS = frozenset({"yes, i will attend.", "no, i won't attend.", "i might attend."})

# From such a line on nothing is the person's: a quoted invitation, a separator, a signature, a disclaimer.
_CUT = re.compile(
    r"--$|[-_=~*⎯]{5,}|-{2,}\s?\S.*-{2,}$|(?:\*~){3,}|"
    r"(?:from|von|de|da|van|fra|från|od|от|发件人|差出人)\s?: .*@|"
    r"(?:on|am|le|el|il|op|em|den|dnia) .{6,200}"
    r"(?:wrote|schrieb|écrit|escribió|scritto|schreef|escreveu|skrev|pisze)\b.{0,120}:$|"
    r"(?:caution|warning|achtung|attention)\s?:.*\bextern|(?:confidential|disclaimer|haftungsausschluss)\b|"
    r"(?:this|the information|diese|ce message|este) .{0,80}(?:confidential|vertraulich|confidentiel)|~~//~~"
)
# A line that a device or a service adds.
_ADVERT = re.compile(
    r"(?:sent (?:from|with|via)|get outlook|von meinem|gesendet (?:von|mit)|envoyé (?:de|depuis|à partir)|"
    r"enviado (?:desde|do|de)|inviato da|verzonden (?:vanaf|met)|skickat från|sendt fra|"
    r"outlook for|outlook für)\b.{0,120}$"
)


def own_words(text: str, subject: str) -> str | None:
    """What the person wrote in `text` (the text/plain of an answer); None where nothing is surely theirs.

    `subject` is the decoded Subject: clients repeat it, and the event's title in it. At most 2,000 characters.
    """
    subject = " ".join(subject.split()).lower()
    prefix = _SUBJECT_PREFIX.match(subject)
    title = subject[prefix.end() :].strip() if prefix else ""
    kept: list[str] = []
    noted = False
    for paragraph in _paragraphs(text):
        flat = " ".join(paragraph.split())
        lower = flat.lower()
        if noted:
            kept.append(flat.strip('"“”„«» '))
            break
        if lower in (subject, title) or lower in _DEFAULTS:
            continue
        if _by_client(lower, title):
            noted = bool(_WITH_NOTE.search(lower))
            if not noted:
                break  # what follows describes the event
            continue
        kept.append(paragraph)
    return clean("\n\n".join(kept), LIMIT).strip() or None


def _paragraphs(text: str) -> list[str]:
    found: list[list[str]] = [[]]
    for raw in clean(text.replace("\r\n", "\n").replace("\r", "\n"), len(text)).split("\n"):
        line = raw.strip(" \t\u00a0\u200b\ufeff")
        lower = line.lower()
        if _CUT.match(lower) or "calendar.google.com" in lower:
            break
        if line.startswith(">"):
            if found[-1] and found[-1][-1].endswith(":"):
                found[-1].clear()  # "On Tuesday, Alice wrote:", on one line or two
            continue
        if _ADVERT.match(lower):
            continue
        if line:
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def _by_client(text: str, title: str) -> bool:
    if len(text) > 600 or _FIRST_PERSON.match(text) or not _any_of(_ANSWERED, text):
        return False
    return _any_of(_INVITED, text) or (len(title) > 2 and title in text)


def _any_of(stems: tuple[str, ...], text: str) -> bool:
    for stem in stems:  # noqa: SIM110 - a generator takes twice the time
        if stem in text:
            return True
    return False
