"""What to do about a record that is refused."""

from __future__ import annotations

from telebeam.transforms.schema import Reason

ADVICE = {
    Reason.MALFORMED: "mend the sender; if this is another format, name it by parse.format or by a content type",
    Reason.NOT_AN_OBJECT: "send objects, or an array of objects: a value alone does not say what was measured",
    Reason.TOO_LARGE: "raise parse.max_payload_bytes (parse.max_expansion if it is compressed), or send less at once",
    Reason.UNKNOWN_FORMAT: "name the format by parse.format or by a content type, or give the device's type a codec "
    "in devices.types; CSV needs a file's header line",
    Reason.SCHEMA: "say by parse.fields where the values stand; a device type's schema stands in devices.types, and "
    "an alias of Sparkplug B needs the birth that names it",
    Reason.MISSING_DEVICE_ID: "say by parse.fields where the id stands, take it from a key devices/ID/telemetry, or "
    "give one by parse.defaults",
    Reason.BAD_DEVICE_ID: "send an id of 3 to 256 characters as a text; parse.fields may name another member",
    Reason.UNKNOWN_DEVICE: "add the device to the file of devices.registry, or set devices.unknown to flag or accept",
    Reason.MISSING_TIMESTAMP: "say by parse.fields where the time stands; --at says when a broker would have taken it",
    Reason.BAD_TIMESTAMP: "send RFC 3339 with an offset or an epoch; local times need parse.timezone",
    Reason.MISSING_VALUE: "send a number; parse.fields says under which name",
    Reason.BAD_VALUE: "send a finite number, as a number",
    Reason.FUTURE: "set the device's clock, or raise quality.max_future_seconds; --at asks with another clock",
    Reason.TOO_OLD: "raise quality.max_age_days, or set it to null for old archives; --at asks with another clock",
    Reason.BAD_FILE: "get the file anew",
    Reason.UNREPRESENTABLE: "mend the text that the sink has no form for; the reading stays in the lake",
    Reason.REFUSED_BY_SINK: "see the sink's words; the reading stays in the lake",
}  # fmt: skip
"""Reason → what usually mends it, with the settings that have a say."""
