"""The parts of the mails that leave, encoded (RFC 2045 §6.8), and names made of digests. Pure."""

from __future__ import annotations

from base64 import b32encode
from binascii import b2a_base64


def part(content_type: str, encoded: str, disposition: str = "") -> str:
    """A part of a multipart: its headers and its content, which is base64 already."""
    header = f"Content-Type: {content_type}\r\n"
    if disposition:
        header += f"Content-Disposition: {disposition}\r\n"
    return f"{header}Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n"


def base64_lines(text: str) -> str:
    """RFC 6047 §2.5: base64 survives every relay: no 8 bits, no long line, no trailing blank, no leading dot."""
    encoded = b2a_base64(text.encode(), newline=False).decode()
    return "".join([f"{encoded[at : at + 76]}\r\n" for at in range(0, len(encoded), 76)])


def base32(digest: bytes) -> str:
    """128 bits of a digest in small letters and digits."""
    return b32encode(digest[:16]).decode().rstrip("=").lower()
