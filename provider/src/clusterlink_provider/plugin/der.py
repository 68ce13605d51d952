"""The few forms of DER that one self-signed certificate needs.

Written here because importing a whole X.509 library would cost every start of the plugin about 50 ms, three times
per plan.
"""

from datetime import datetime


def tlv(tag: int, *content: bytes) -> bytes:
    """Writes one element: tag, length, content."""
    body = b"".join(content)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def sequence(*parts: bytes) -> bytes:
    """Writes a SEQUENCE."""
    return tlv(0x30, *parts)


def set_of(*parts: bytes) -> bytes:
    """Writes a SET."""
    return tlv(0x31, *parts)


def explicit(number: int, *parts: bytes) -> bytes:
    """Writes a constructed element with a context tag."""
    return tlv(0xA0 | number, *parts)


def integer(value: int) -> bytes:
    """Writes a non-negative INTEGER."""
    # One bit more than the value has: the first bit is the sign.
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean(value: bool) -> bytes:
    """Writes a BOOLEAN."""
    return tlv(0x01, b"\xff" if value else b"\x00")


def bit_string(content: bytes, unused: int = 0) -> bytes:
    """Writes a BIT STRING; `unused` bits at its end do not count."""
    return tlv(0x03, bytes([unused]), content)


def octet_string(content: bytes) -> bytes:
    """Writes an OCTET STRING."""
    return tlv(0x04, content)


def utf8(text: str) -> bytes:
    """Writes a UTF8String."""
    return tlv(0x0C, text.encode())


def oid(dotted: str) -> bytes:
    """Writes an OBJECT IDENTIFIER."""
    first, second, *rest = (int(part) for part in dotted.split("."))
    body = bytearray()
    for number in (first * 40 + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(0x80 | (number & 0x7F))
        body.extend(reversed(groups))
    return tlv(0x06, bytes(body))


def time(moment: datetime) -> bytes:
    """Writes a moment (UTC) as the standard wants it: two digits of the year until 2049, four from then on."""
    if moment.year < 2050:
        return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())
